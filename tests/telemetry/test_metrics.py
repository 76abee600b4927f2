"""Metrics: latencies, failovers, switches, bounded labels. `test_mixed_load.py` compares all counters."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs
from tokenstreaming.v1 import input_pb2

from tests.support.admin_pages import ADMIN, parse, scrape, series, unstarted_metrics
from tests.support.harness import collect, read_until, serving, upstream
from tests.support.pools import Played
from tests.support.prometheus import promtool
from tests.support.records import KEY
from tests.support.script_steps import Done, Drop, Finish, Pause, Stall, Status, Text, UsageChunk
from tests.support.several_engines import two_engines
from tokengrpc.core.capacity import CAUSES
from tokengrpc.core.inter_token_latency import BOUNDS, InterTokenLatency
from tokengrpc.core.model import Capability, Delta
from tokengrpc.core.ports.observer import CallStarted, GenerationAdmitted
from tokengrpc.telemetry.tenants import MAX_TENANTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.support.scripted_engine import ScriptedEngine
    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest

REJECTIONS = "tokengrpc_capacity_rejections_total"
EACH = 6
"""Rejected calls."""


async def test_inter_token_latency_is_that_between_reads(engine: ScriptedEngine) -> None:
    """Two tokens of one read have no time between them. The times add up to what readers see."""
    first, second = Pause(), Pause()
    engine.script(Text("a", "b"), first, Text("c"), second, Text("d"), Finish(), UsageChunk(), Done())
    async with serving(upstream(engine.base_url, name="m"), admin_listen=ADMIN) as server:
        call = server.stream()
        messages = await read_until(call, lambda message: len(message.tokens))
        first.release()
        messages += await read_until(call, lambda message: len(message.tokens))
        second.release()
        outcome = await collect(call)
        shown = await scrape(server)
    tokens = [token for message in [*messages, *outcome.messages] for token in message.tokens]
    times = sorted({token.emit_time.ToNanoseconds() for token in tokens})
    labels = {"model": "m", "engine": "m"}
    name = "tokengrpc_inter_token_latency_seconds"
    assert len(times) == 3
    assert shown[series(f"{name}_count", **labels)] == 2
    assert shown[series(f"{name}_bucket", **labels, le="+Inf")] == 2
    assert shown[series(f"{name}_sum", **labels)] == pytest.approx((times[-1] - times[0]) / 1e9, abs=0.05)


def test_the_ranges_of_inter_token_latency_include_their_bounds() -> None:
    """As Prometheus' buckets do."""
    latency = InterTokenLatency()
    for milliseconds in (10, 11, 80_000, 80_001):
        latency.add(milliseconds * 1_000_000)
    assert latency.counts == (1, 1, *[0] * (len(BOUNDS) - 3), 1, 1)


class Lingering(Played):
    """An engine whose call ends only when the test allows it."""

    def __init__(self) -> None:
        super().__init__("builtin")
        self.stopping, self.released = asyncio.Event(), asyncio.Event()

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        try:
            yield ()
            yield (Delta(text="Well", count=1),)
            await asyncio.Event().wait()
        finally:
            self.stopping.set()
            await self.released.wait()


async def test_a_cancel_takes_until_the_call_of_the_engine_has_ended() -> None:
    """From the moment at which the caller leaves; a generation that ends otherwise has no such time."""
    lingering = Lingering()
    name = series("tokengrpc_cancel_to_engine_seconds_count", model="builtin", engine="builtin")
    async with serving(admin_listen=ADMIN, engines={"builtin": lingering}) as server:
        call = server.stream()
        await read_until(call, lambda message: message.tokens)
        call.cancel()
        await lingering.stopping.wait()
        assert name not in await scrape(server)
        lingering.released.set()
        await server.tasks[0].wait_ended()
        assert (await scrape(server))[name] == 1
        late = await collect(server.stream(limits=input_pb2.Limits(time_limit=Duration(nanos=200_000_000))))
        assert late.finished is not None
        assert (await scrape(server))[name] == 1


async def test_failovers_and_switches() -> None:
    """Engine `a` breaks off after some output; engine `b` continues."""
    by_text = {"extra_capabilities": (Capability.CONTINUE_TEXT,)}
    async with two_engines(of_a=by_text, of_b=by_text, admin_listen=ADMIN) as two:
        two.a.script(Text("Well"), Text(" said"), Drop())
        two.b.script(Text(" more"), Text("."), Finish(), UsageChunk(), Done())
        chat = input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text="Say hello.")
        outcome = await collect(
            two.server.stream(
                conversation=input_pb2.Conversation(messages=[chat]),
                recovery=input_pb2.Recovery(max_engine_switch_count=2),
            )
        )
        assert outcome.text == "Well said more."
        shown = await scrape(two.server)
    method = {"from_engine": "a", "to_engine": "b", "method": "TEXT_PREFILL"}
    assert shown[series("tokengrpc_switches_total", model="m", **method)] == 1
    assert shown[series("tokengrpc_failovers_total", model="m", engine="b")] == 1
    assert shown[series("tokengrpc_breaker_state", model="m", engine="a", state="closed")] == 1


async def test_rejections_are_counted_by_cause(engine: ScriptedEngine) -> None:
    """Beside the limits that cause them. Causes that have not occurred are 0."""
    engine.script(Text("Well"), Stall())
    limits = {"max_generations": 1, "total_log_bytes": 1 << 23}
    async with serving(upstream(engine.base_url), admin_listen=ADMIN, limits=limits) as server:
        running = server.stream()
        await read_until(running, lambda message: len(message.tokens))
        rejected = [await collect(server.stream()) for _ in range(EACH)]
        shown = await scrape(server)
    assert {outcome.info.metadata["cause"] for outcome in rejected if outcome.info} == {"generations"}
    counted = {dict(key[1])["cause"]: value for key, value in shown.items() if key[0] == REJECTIONS}
    assert counted == dict.fromkeys(CAUSES, 0) | {"generations": EACH}
    assert shown[series("tokengrpc_max_generations")] == shown[series("tokengrpc_generations")] == 1
    assert shown[series("tokengrpc_max_log_bytes")] == 1 << 23
    assert shown[series("tokengrpc_memory_limit_bytes")] >= 1 << 20
    assert shown[series("tokengrpc_core_forecast_ratio")] > 0
    assert 0 <= shown[series("tokengrpc_core_wait_ratio")] <= 1


def test_labels_are_bounded() -> None:
    """However many tenants an authenticator knows, and whatever ids callers choose."""
    metrics = unstarted_metrics()
    for number in range(MAX_TENANTS + 50):
        key = KEY._replace(tenant=f"tenant-{number}", generation_id=f"secret-{number}")
        metrics.on_event(GenerationAdmitted(key=key, model="m"))
    page = metrics.page().decode()
    rows = [row for row in page.splitlines() if row.startswith("tokengrpc_request_admitted_total{")]
    assert len(rows) == MAX_TENANTS + 1
    assert rows[-1] == 'tokengrpc_request_admitted_total{model="m",tenant="(others)"} 50.0'
    assert "secret" not in page


def test_events_are_counted_once_whoever_asks_meanwhile() -> None:
    """They wait until they are many or a page is made. No page has fewer than the one before."""
    metrics, events = unstarted_metrics(), 5_000
    admitted = series("tokengrpc_request_admitted_total", model="m", tenant=KEY.tenant)
    emitting = threading.Thread(
        target=lambda: [metrics.on_event(GenerationAdmitted(key=KEY, model="m")) for _ in range(events)]
    )
    metrics.on_event(GenerationAdmitted(key=KEY, model="m"))
    shown = [parse(metrics.page().decode())[admitted]]
    emitting.start()
    while emitting.is_alive():
        shown.append(parse(metrics.page().decode())[admitted])
    shown.append(parse(metrics.page().decode())[admitted])
    assert (shown[0], shown[-1]) == (1, events + 1)
    assert shown == sorted(shown)


def test_an_event_that_cannot_be_counted_costs_no_other() -> None:
    """It is logged, and the page has the rest."""
    metrics = unstarted_metrics()
    with capture_logs() as lines:
        metrics.on_event(CallStarted(method="Unknown"))
        metrics.on_event(GenerationAdmitted(key=KEY, model="m"))
        page = parse(metrics.page().decode())
    assert page[series("tokengrpc_request_admitted_total", model="m", tenant=KEY.tenant)] == 1
    assert [line["event_type"] for line in lines] == ["CallStarted"]


async def test_failovers_are_counted_when_they_happen() -> None:
    """Engine `a` has failed and engine `b` is called: it is counted although `b` has not answered yet."""
    async with two_engines(admin_listen=ADMIN) as two:
        pause = Pause()
        two.a.script(Status(503))
        two.b.script(pause, Text("Well"), Finish(), UsageChunk(), Done())
        call = two.server.stream()
        await pause.reached.wait()
        shown = await scrape(two.server)
        assert shown[series("tokengrpc_failovers_total", model="m", engine="b")] == 1
        pause.release()
        assert (await collect(call)).finished


def test_promtool_finds_no_fault() -> None:
    """Prometheus' own linter."""
    assert promtool("check", "metrics", stdin=unstarted_metrics().page()) == ""
