"""The admin pages over real sockets: liveness, readiness, debug, and what they do not show."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import socket
import time
from contextlib import suppress
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from tests.support.admin_pages import ADMIN, fetch, page, scrape, series, unstarted_metrics
from tests.support.harness import collect, read_until, serving, until, upstream
from tests.support.script_steps import Done, Finish, Headers, Stall, Text, UsageChunk
from tokengrpc.config import ConfigError, Settings, TenantSettings
from tokengrpc.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.samples import Sample

    from tests.support.scripted_engine import ScriptedEngine

PAGES = ("/healthz", "/readyz", "/metrics", "/debug")


async def test_a_frozen_event_loop_fails_liveness_and_recovers():
    """This test's own loop is the server's. The pages answer while it is blocked; /healthz fails by 10 s."""
    async with serving(admin_listen=ADMIN) as server:
        port = server.server.admin.http_port
        frozen_at = time.monotonic()
        assert fetch(port, "/healthz")[0] == 200
        while fetch(port, "/healthz")[0] == 200:
            assert time.monotonic() - frozen_at < 10
        assert [fetch(port, path)[0] for path in PAGES] == [503, 200, 200, 200]
        await until(lambda: server.server.status.alive, "the heartbeat is back")
        assert (await page(server, "/healthz"))[0] == 200


async def test_readiness_follows_engines_and_the_drain(engine: ScriptedEngine):
    """A model is not ready once all its engines fail. The server is not ready once it drains."""
    names = ("good", "bad")
    models = [upstream(engine.base_url, name=name, upstream_model=name) for name in names]
    engine.script(Text("Well", " said"), Finish(), UsageChunk(), Done(), model="good")
    engine.script(Text("Well"), model="bad")
    async with serving(*models, admin_listen=ADMIN) as server:
        assert json.loads((await page(server, "/readyz"))[1])["models"] == {"good": True, "bad": True}
        for _ in range(3):
            await collect(server.stream(model="bad"))
        assert json.loads((await page(server, "/readyz"))[1])["models"] == {"good": True, "bad": False}
        paths = {"/readyz": 200, "/readyz?model=good": 200, "/readyz?model=bad": 503, "/readyz?model=no": 503}
        assert {path: (await page(server, path))[0] for path in paths} == paths
        await server.server.begin_drain(1)
        status, text = await page(server, "/readyz")
        assert (status, json.loads(text)["phase"]) == (503, "draining")


async def test_a_model_whose_engine_sends_nothing_is_not_ready(engine: ScriptedEngine):
    """It accepts requests, but its callers leave before a timeout: only its silence shows that it hangs."""
    model = upstream(engine.base_url, name="m", first_token_timeout=1.0)
    async with serving(model, admin_listen=ADMIN) as server:
        assert (await page(server, "/readyz?model=m"))[0] == 200
        engine.script(Headers(), Stall())

        async def leave() -> bool:
            """Makes a call and leaves it. Returns whether all show that the engine is silent."""
            call = server.stream()
            await read_until(call, lambda message: message.HasField("started"))
            call.cancel()
            shown = await scrape(server)
            assert shown[series("tokengrpc_breaker_state", model="m", engine="m", state="closed")] == 1
            return (
                (await page(server, "/readyz?model=m"))[0] == 503
                and shown[series("tokengrpc_model_ready", model="m")] == 0
                and shown[series("tokengrpc_engine_silent_seconds", model="m", engine="m")] >= 1
                and "engine sends no output" in str(logged)
            )

        with capture_logs() as logged:
            began = time.monotonic()
            while not await leave():
                assert time.monotonic() - began < 20
            assert time.monotonic() - began >= 1
        engine.script(Text("Well", " said"), Finish(), UsageChunk(), Done())
        assert (await collect(server.stream())).finished
        assert (await page(server, "/readyz?model=m"))[0] == 200


async def test_no_page_and_no_line_shows_secrets_or_prompts(
    engine: ScriptedEngine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Keys of tenants and engines, passwords in settings of plugins, prompts, output, ids."""
    names = ("tenant-key", "engine-key", "password", "prompt", "answer", "id")
    canaries = {name: f"canary-{name}-7391" for name in names}
    for name in ("tenant-key", "engine-key"):
        (tmp_path / name).write_text(canaries[name])
    engine.script(Text(canaries["answer"]), Finish(), UsageChunk(), Done())
    model = upstream(engine.base_url, api_key_file=str(tmp_path / "engine-key"))
    settings = {
        "tenants": (TenantSettings(name="team", key_file=str(tmp_path / "tenant-key")),),
        "plugins": {"other": {"password": canaries["password"], "url": f"x://u:{canaries['password']}@h"}},
    }
    async with serving(model, admin_listen=ADMIN, **settings) as server:
        key = {"metadata": (("authorization", f"Bearer {canaries['tenant-key']}"),)}
        wrong = {"metadata": (("authorization", f"Bearer {canaries['tenant-key']}x"),)}
        outcome = await collect(server.stream(canaries["id"], prompt=canaries["prompt"], **key))
        assert outcome.text == canaries["answer"]
        refused = await collect(server.stream(prompt=canaries["prompt"], **wrong))
        shown = "".join([(await page(server, path))[1] for path in PAGES])
    assert "team" in shown
    shown += refused.message
    assert [name for name, canary in canaries.items() if canary in shown] == []
    out, err = capfd.readouterr()
    assert [name for name, canary in canaries.items() if canary in out + err and name != "id"] == []


async def test_other_paths_are_refused():
    """With a list of the pages."""
    async with serving(admin_listen=ADMIN) as server:
        assert await page(server, "/") == (404, f"pages: {', '.join(PAGES)}\n")


@pytest.mark.parametrize(
    ("request_line", "status", "line"),
    [
        ("POST /healthz HTTP/1.0", 501, "only GET and HEAD are answered"),
        ("<b> /healthz HTTP/1.1", 501, "only GET and HEAD are answered"),
        ("GET /healthz HTTP/9.9", 505, "http version not supported"),
        ("GET /<b> a b HTTP/1.0", 400, "bad request"),
    ],
)
async def test_other_requests_are_refused_in_a_line(request_line: str, status: int, line: str):
    """As plain text, which repeats nothing of the request."""
    async with serving(admin_listen=ADMIN) as server:
        port = server.server.admin.http_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{request_line}\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
    assert f" {status} " in head.splitlines()[0]
    assert "Content-Type: text/plain" in head
    assert body == f"{line}; pages: {', '.join(PAGES)}\n"


async def test_a_scraper_gets_the_format_that_it_asks_for(engine: ScriptedEngine):
    """OpenMetrics or text, in gzip or not: with the same values."""
    engine.script(Text("Well", " said"), Finish(), UsageChunk(), Done())
    openmetrics = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    async with serving(upstream(engine.base_url), admin_listen=ADMIN) as server:
        assert (await collect(server.stream())).finished
        url = f"http://127.0.0.1:{server.server.admin.http_port}/metrics"

        def get(headers: dict[str, str]) -> tuple[str, str, int]:
            with urlopen(Request(url, headers=headers), timeout=20) as answer:
                body = answer.read()
                encoding = answer.headers.get("Content-Encoding", "")
                text = gzip.decompress(body) if encoding else body
                return answer.headers["Content-Type"], text.decode(), len(body)

        text_type, text, size = await asyncio.to_thread(get, {})
        _, same, less = await asyncio.to_thread(get, {"Accept-Encoding": "gzip"})
        open_type, opened, _ = await asyncio.to_thread(get, {**openmetrics, "Accept-Encoding": "gzip"})
    assert less * 4 < size
    assert text_type.startswith("text/plain; version=0.0.4")
    assert open_type.startswith("application/openmetrics-text; version=1.0.0")
    assert opened.endswith("# EOF\n")
    parsers = [(text, text_string_to_metric_families), (same, text_string_to_metric_families)]
    parsers += [(opened, open_families)]
    values = [
        {(s.name, *sorted(s.labels.items())): s.value for f in parse(page) for s in f.samples if is_own(s)}
        for page, parse in parsers
    ]
    assert values[0] == values[1] == values[2]
    assert values[0]


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=a.b.c", "x;version=", ';;,=,"', "é"]
)
def test_any_accept_header_gets_a_page(accept: str):
    """Text, if it asks for nothing that there is."""
    assert unstarted_metrics().exposition(accept)[0].startswith("text/plain")


async def test_a_large_head_is_refused():
    """Before all of it is kept in memory."""
    answer = b""
    async with serving(admin_listen=ADMIN) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server.admin.http_port)
        with suppress(ConnectionError):  # it closes while this sends
            writer.write(b"GET /healthz HTTP/1.1\r\n" + (b"x: " + b"a" * 60_000 + b"\r\n") * 40 + b"\r\n")
            await writer.drain()
            answer = await reader.readline()
        writer.close()
    assert answer == b"" or b" 431 " in answer


def is_own(sample: Sample) -> bool:
    """Whether a figure does not change by itself."""
    return sample.name.startswith("tokengrpc_request_")


async def test_an_address_that_is_taken_is_named():
    """In one line, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Server(Settings(listen=ADMIN, admin_listen=address))
        with pytest.raises(ConfigError, match=f"^admin_listen: {address} is in use .*--admin-listen"):
            await server.start()
        await server.stop()


async def test_connections_that_drip_do_not_keep_probes_out():
    """A connection has a few seconds in all, however often it sends a byte."""
    async with serving(admin_listen=ADMIN) as server:
        port = server.server.admin.http_port
        peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]

        def drip() -> bool:
            for peer in peers:
                with suppress(OSError):
                    peer.send(b"G")
            try:
                return fetch(port, "/healthz")[0] == 200
            except OSError:
                return False

        try:
            await until(lambda: not drip(), "all places are taken")
            await until(drip, "the pages answer again", 20)
        finally:
            for peer in peers:
                peer.close()


async def test_without_open_files_it_waits(monkeypatch: pytest.MonkeyPatch):
    """A connection that cannot be accepted is tried again a few times a second, not all the time."""
    accept, tries = ThreadingTCPServer.get_request, []

    def counted(server: ThreadingTCPServer) -> Any:
        tries.append(time.monotonic())
        return accept(server)

    monkeypatch.setattr(ThreadingTCPServer, "get_request", counted)
    async with serving(admin_listen=ADMIN) as server:
        with socket.create_connection(("127.0.0.1", server.server.admin.http_port)) as peer:
            await until(lambda: tries, "the first connection was accepted")
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            with socket.socket() as late:
                lowest = peer.fileno()  # files are numbered without gaps
                try:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
                    late.connect(peer.getpeername())
                    await until(lambda: len(tries) > 3, "it could not be accepted")
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert tries[3] - tries[1] > 0.15  # two pauses; without them it takes microseconds
        assert (await page(server, "/healthz"))[0] == 200
