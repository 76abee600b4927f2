"""Metrics over OTLP, exporters in trouble, and how both are turned on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from tests.support import commands
from tests.support.admin_pages import ADMIN, scrape, series
from tests.support.harness import collect, read_until, serving, until, upstream
from tests.support.otlp_receiver import OtlpReceiver, attributes
from tests.support.script_steps import Done, Drop, Finish, Pause, Text, UsageChunk
from tests.support.scripted_engine import ScriptedEngine
from tokengrpc.config import ConfigError
from tokengrpc.rpc.servicer import SERVICE
from tokengrpc.telemetry.otel import create_observer
from tokengrpc.telemetry.otel.exporters import otlp_exporter
from tokengrpc.telemetry.otel.metrics import CLIENT_USAGE, HISTOGRAMS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

CALL = f"{SERVICE.full_name}/StreamTokens"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        yield receiver


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """Starts a receiver in a process of its own. Yields its address, and what kills it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.otlp_receiver", stdout=subprocess.PIPE
    )
    assert process.stdout is not None

    async def kill() -> None:
        process.kill()
        await process.wait()

    try:
        yield (await process.stdout.readline()).decode().split()[-1], kill
    finally:
        if process.returncode is None:
            await kill()


def counts(metric: Any, label: str) -> dict[str, int]:
    """Returns the sum or the number of measurements of each value of a label."""
    points = metric.sum.data_points if metric.HasField("sum") else metric.histogram.data_points
    counted: dict[str, int] = {}
    for point in points:
        value = attributes(point).get(label, "")
        more = point.as_int if metric.HasField("sum") else point.count
        counted[value] = counted.get(value, 0) + more
    return counted


async def test_metrics_are_what_the_callers_counted(receiver: OtlpReceiver):
    """Of each call, generation and attempt once, with bounded labels; tokens as they are billed."""
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
        engine.script(Text("Well", " said"), Finish(), UsageChunk(input=7, output=2), Done())
        for _ in range(3):
            assert (await collect(server.stream())).code.name == "OK"
        engine.script(Text("One"), Drop())
        await collect(server.stream())
        await collect(server.resume("unknown"))
        billed = [record.usage for record in server.ledger.records.values()]
    metrics = receiver.metrics()
    assert set(metrics) == {*HISTOGRAMS, CLIENT_USAGE["input"], CLIENT_USAGE["output"]}
    by_status = counts(metrics["rpc.server.call.duration"], "rpc.status_code")
    assert by_status == {"OK": 3, "UNAVAILABLE": 1, "NOT_FOUND": 1}
    by_error = counts(metrics["rpc.server.call.duration"], "error.type")
    assert by_error == {"": 4, "ENGINE_LOST": 1}
    assert counts(metrics["gen_ai.server.request.duration"], "error.type") == {"": 3, "ENGINE_LOST": 1}
    assert counts(metrics["gen_ai.server.time_to_first_token"], "tokengrpc.tenant") == {"default": 3}
    assert counts(metrics["gen_ai.server.time_per_output_token"], "gen_ai.request.model") == {"scripted": 3}
    assert counts(metrics["gen_ai.client.inference.duration"], "error.type") == {"": 3, "ENGINE_LOST": 1}
    assert counts(metrics["gen_ai.client.inference.time_to_first_chunk"], "tokengrpc.engine") == {
        "scripted": 4
    }
    output = counts(metrics[CLIENT_USAGE["output"]], "gen_ai.provider.name")
    assert output == {"openai": sum(usage.output for usage in billed)}
    told = counts(metrics[CLIENT_USAGE["input"]], "gen_ai.provider.name")
    assert told == {"openai": sum(usage.input for usage in billed)}


async def test_a_collector_that_is_killed_does_no_harm(monkeypatch: pytest.MonkeyPatch):
    """A stream goes on when the collector is killed in its middle. Dropped spans are counted and logged."""
    async with collector() as (address, kill):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
        with capture_logs() as logs:
            async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
                pause = Pause()
                engine.script(Text("Well"), pause, Text(" said"), Finish(), UsageChunk(), Done())
                call = server.stream()
                await read_until(call, lambda message: message.tokens)
                await kill()
                pause.release()
                outcome = await collect(call)
    assert (outcome.code.name, outcome.text) == ("OK", " said")
    dropped = [line for line in logs if line["event"].startswith("spans were dropped")]
    assert sum(line["spans"] for line in dropped) == 3


async def test_a_full_queue_drops_spans_and_nothing_else(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
):
    """While the collector hangs, calls end as ever. What does not fit into the queue is counted."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    receiver.blocked.clear()
    calls = 40
    with capture_logs() as logs:
        async with serving(otlp=True, admin_listen=ADMIN) as server:
            outcomes = [await collect(server.stream(max_output_token_count=1)) for _ in range(calls)]
            receiver.blocked.set()
            await until(lambda: receiver.spans)
            counted = (await scrape(server))[series("tokengrpc_spans_dropped_total")]
    assert {outcome.code.name for outcome in outcomes} == {"OK"}
    dropped = sum(line["spans"] for line in logs if line["event"].startswith("spans were dropped"))
    assert 0 < counted <= dropped
    assert len(receiver.spans) + dropped == 3 * calls


def test_a_server_that_does_not_export_does_not_import():
    """OpenTelemetry costs nothing where it is not turned on."""
    code = (
        "import sys, tokengrpc.process; assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_server_process_exports_and_ends():
    """The flag and OpenTelemetry's variables are all it takes. What was queued is sent before the end."""
    with OtlpReceiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_SERVICE_NAME": "mine"}
        with commands.serving("--otlp", "true", **variables) as server:
            assert server("stream", "hello", "--max-tokens", "2").returncode == 0
            assert server.stop() == 0
        assert receiver.named(CALL)
        assert b"mine" in receiver.bytes


def test_a_server_process_ends_without_its_collector():
    """Exporters that reach nobody are given up: the exit code is the usual one, and the loss is logged."""
    flags = ("--otlp", "true", "--log-level", "warning")
    endpoint = f"http://{commands.CLOSED}"
    with commands.serving(*flags, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as server:
        assert server("stream", "hello", "--max-tokens", "2").returncode == 0
        assert server.stop() == 0
        assert "spans were dropped" in server.log()


@pytest.mark.parametrize("signal", ["traces", "metrics"])
def test_an_exporter_that_is_closed_twice_says_nothing(signal: str, caplog: pytest.LogCaptureFixture):
    """One that is given up is closed again by the SDK, at a time when the log may be closed."""
    exporter = otlp_exporter(signal)
    exporter.shutdown()
    exporter.shutdown(timeout=1)
    assert not caplog.records


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER: must be otlp or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "x", "OTEL_EXPORTER_OTLP_PROTOCOL: must be grpc or http/protobuf"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: http/protobuf needs opentelemetry-exporter-otlp-proto-http: "
            "pip install opentelemetry-exporter-otlp-proto-http",
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "soon",
            "OTEL_EXPORTER_OTLP_TIMEOUT: must be a number of seconds above 0",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "htp://collector:4317",
            "OTEL_EXPORTER_OTLP_ENDPOINT: must begin with http:// or https://, such as http://collector:4317",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "api-key: secret",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS: must be NAME=VALUE, several with commas between them, and "
            "special characters URL-encoded",
        ),
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "missing.pem",
            "OTEL_EXPORTER_OTLP_CERTIFICATE: must be a file that can be read",
        ),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "OTEL_BSP_MAX_QUEUE_SIZE: must be a whole number"),
    ],
)
def test_a_wrong_variable_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
):
    """It names the variable, and what to do."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        create_observer("")
    assert str(caught.value) == message


async def test_headers_of_all_forms_are_sent(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch):
    """URL-encoded or not, with spaces and empty parts: what the SDK takes is not refused."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer a=b, x-team = search%20ui ,")
    async with serving(otlp=True) as server:
        await collect(server.stream())
    assert receiver.named(CALL)


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")]
)
async def test_traces_can_be_turned_off(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
):
    """Then the caller's trace goes on to the engine as it came."""
    monkeypatch.setenv(variable, value)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
        engine.script(Text("x"), Finish(), Done())
        await collect(server.stream(metadata=(("traceparent", parent),)))
        assert (await engine.called()).headers["traceparent"] == parent
        await collect(server.stream())
        assert "traceparent" not in engine.calls[-1].headers
    assert not receiver.spans
    assert bool(receiver.metrics()) == (variable != "OTEL_SDK_DISABLED")
