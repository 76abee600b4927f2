"""Metrics pages: what is kept of them, and what is not a metrics page."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.support.admin_pages import ADMIN, fetch, parse
from tests.support.commands import CLOSED
from tests.support.harness import collect, serving
from tokengrpc.cli.top.servers import series
from tokengrpc.cli.top.servers.polling import Address, Unreachable
from tokengrpc.cli.top.servers.polling import fetch as sample_of
from tokengrpc.cli.top.servers.samples import NoMetrics
from tokengrpc.cli.top.servers.samples import parse as parse_sample
from tokengrpc.telemetry import metric_table

TABLE = {metric.name: metric for metric in (*metric_table.COUNTED, *metric_table.READ)}
PAGE = """
# TYPE tokengrpc_generation_tokens_total counter
tokengrpc_generation_tokens_total{model="m",engine="a",tenant="x"} 3.0
tokengrpc_generation_tokens_total{model="m",engine="a",tenant="y"} 4.0
tokengrpc_generation_tokens_total{model="m \\"1\\"",engine="b",tenant="y"} 1.0
# TYPE tokengrpc_build_info gauge
tokengrpc_build_info{version="1",python="3",grpcio="1"} 1.0
"""


@pytest.mark.parametrize("name", [name for name in series.KEPT if name != series.START_TIME])
def test_every_metric_that_is_read_exists(name: str) -> None:
    """With its type, and the labels that are kept."""
    metric = TABLE[name.removesuffix("_bucket")]
    labels = (*metric.labels, "le") if metric.kind == "histogram" else metric.labels
    assert set(series.KEPT[name]) <= set(labels)
    assert (name in series.COUNTERS) == (metric.kind != "gauge")
    assert name.endswith("_bucket") == (metric.kind == "histogram")


def test_other_labels_are_added_up() -> None:
    """Such as those of tenants. Escaped characters of names are read."""
    counters = parse_sample(PAGE, at=0.0).counters
    assert counters == {(series.TOKENS, ("m", "a")): 7.0, (series.TOKENS, ('m "1"', "b")): 1.0}


async def test_a_sample_has_what_the_page_has() -> None:
    """Of a real server, after some generations."""
    async with serving(admin_listen=ADMIN) as server:
        for _ in range(3):
            await collect(server.stream())
        port = server.server.admin.http_port
        sample = sample_of(Address("127.0.0.1", port))
        page = parse(fetch(port, "/metrics")[1])
    kept = sample.counters | sample.gauges
    for name in (series.ADMITTED, series.TOKENS, series.INTER_TOKEN, series.FIRST_TOKEN, series.READERS):
        total = sum(value for (key, _), value in page.items() if key == name)
        assert sum(value for (key, _), value in kept.items() if key == name) == total
    assert sum(value for (key, _), value in kept.items() if key == series.ADMITTED) == 3


@pytest.mark.parametrize("text", ["", "hello\n", "<html></html>", "up 1\n", 'a{b="c} 1\n', "\x00"])
def test_other_pages_are_refused(text: str) -> None:
    """With a sentence that says what they are."""
    with pytest.raises(
        NoMetrics, match=r"its (page is not in Prometheus' text format|metrics are not those)"
    ):
        parse_sample(text, at=0.0)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e308", "9" * 400])
@pytest.mark.parametrize("name", [series.READERS, series.TOKENS, series.START_TIME])
def test_values_that_cannot_be_shown_are_refused(name: str, value: str) -> None:
    """A page that says so is not one of a server, and must not end the view of the others."""
    with pytest.raises(NoMetrics, match="a value that is no number, or too large"):
        parse_sample(f"{PAGE}{name} {value}\n", at=0.0)


@pytest.mark.parametrize("bound", ["abc", "NaN", ""])
def test_buckets_without_a_bound_are_refused(bound: str) -> None:
    """Because quantiles need it."""
    with pytest.raises(NoMetrics, match=r"not in Prometheus' text format|no number"):
        parse_sample(f'{PAGE}{series.FIRST_TOKEN}{{model="m",le="{bound}"}} 1\n', at=0.0)


def test_too_many_series_are_refused() -> None:
    """Instead of a screen that is never drawn."""
    rows = "".join(f'{series.READERS}{{model="{number}"}} 1\n' for number in range(50_001))
    with pytest.raises(NoMetrics, match="more than 50000 series"):
        parse_sample(PAGE + rows, at=0.0)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([b"H"] * 40, "no answer within 0.5 s"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"] * 40, "no answer within 0.5 s"),
        ([b"HTTP/1.0 200 OK\r\n\r\n", *[b"# slow\n"] * 40, PAGE.encode()], "no answer within 0.5 s"),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc"],
            "it does not speak HTTP: this is no admin port",
        ),
        ([b"HTTP/1.0 200 OK\r\n\r\n", b"#" * (17 << 20)], "its page is larger than 16 MiB"),
    ],
    ids=["slow head", "endless continue", "slow page", "wrong chunk", "large page"],
)
def test_no_server_holds_the_view_up(parts: list[bytes], message: str) -> None:
    """However slowly, wrongly or much it sends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sending = threading.Thread(target=send_slowly, args=(listener, parts))
        sending.start()
        try:
            with pytest.raises(Unreachable, match=message):
                sample_of(Address(*listener.getsockname()), timeout=0.5)
        finally:
            sending.join()


def send_slowly(listener: socket.socket, parts: list[bytes]) -> None:
    """Answers one request with these parts, each of them soon enough after the last one."""
    peer, _ = listener.accept()
    with peer, suppress(OSError):
        peer.recv(4096)
        for part in parts:
            peer.sendall(part)
            time.sleep(0.05)


async def test_servers_that_are_no_admin_port_are_named() -> None:
    """A closed port, one that speaks gRPC, one that is silent, and a name that does not exist."""
    async with serving() as server:
        with pytest.raises(Unreachable, match=r"it (does not speak HTTP|closed the connection)"):
            await asyncio.to_thread(sample_of, Address("127.0.0.1", server.server.port))
    host, port = CLOSED.split(":")
    with pytest.raises(Unreachable, match="nothing listens there"):
        sample_of(Address(host, int(port)))
    with pytest.raises(Unreachable, match=r"resol|not known|failure"):
        sample_of(Address("no-such-host.invalid", 1))
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
        sample_of(Address("127.0.0.1", silent.getsockname()[1]), timeout=0.1)
