"""Metrics under a mixed load: each counter is what the callers counted themselves."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.admin_pages import ADMIN, Series, scrape, series
from tests.support.counted_calls import Calls
from tests.support.counted_load import Load
from tests.support.harness import serving, until, upstream
from tests.support.script_steps import Done, Drop, Finish, Stall, Status, Text, UsageChunk
from tokengrpc.config import engine_settings, model_settings
from tokengrpc.core.model import Capability
from tokengrpc.telemetry import metric_table

if TYPE_CHECKING:
    from aiohttp import web

    from tests.support.scripted_engine import Call, ScriptedEngine
    from tokengrpc.config import ModelSettings

EACH = 6
"""Generations of each kind."""
FEW = 2
"""Generations of the kinds whose engines fail: a third failure in a row opens the circuit breaker."""

FAILS = Status(503, {"error": {"message": "out of memory"}})
DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
ANSWER = (Text("Well", " said"), Finish(), UsageChunk(details=DETAILS), Done())

BYTES = (metric_table.SENT_BYTES, metric_table.RECEIVED_BYTES)
COMPARED = {
    name
    for metric in metric_table.COUNTED
    if metric.kind != "gauge"
    for name in (
        [metric.name]
        if metric.kind == "counter"
        else [f"{metric.name}_count", *([f"{metric.name}_sum"] if metric in BYTES else [])]
    )
}


@dataclass
class EveryOther:
    """A step that fails every other call."""

    calls: list[Any] = field(default_factory=list)

    async def run(self, call: Call) -> web.StreamResponse | None:
        self.calls.append(call)
        return await FAILS.run(call) if len(self.calls) % 2 else None


def pair(engine: ScriptedEngine, name: str, **more: Any) -> ModelSettings:
    """Returns a model on two engines, of which the first is called first."""
    engines = tuple(
        engine_settings(
            name=f"{name}-{number}",
            kind="openai",
            api="chat",
            base_url=engine.base_url,
            upstream_model=f"{name}-{number}",
            priority=number,
            **more,
        )
        for number in (1, 2)
    )
    return model_settings(name=name, engines=engines)


def without_engine(values: dict[Series, float]) -> Counter[Series]:
    """Adds up tokens over engines: those around a switch may count for either."""
    summed: Counter[Series] = Counter()
    for (name, labels), value in values.items():
        dropped = {"engine"} if name == "tokengrpc_generation_tokens_total" else set()
        kept = frozenset(label for label in labels if label[0] not in dropped)
        summed[name, kept] += value  # type: ignore[assignment]  # all are whole numbers
    return summed


async def test_every_counter_is_what_the_callers_counted(engine: ScriptedEngine) -> None:
    """Answers, failures, deadlines, cancels, resumes, failovers, retries, switches and rejected calls."""
    for name in ("good", "busy-2", "swap-2"):
        engine.script(*ANSWER, model=name)
    engine.script(Text("Well"), model="cut")
    engine.script(Text("Well"), Stall(), model="slow")
    engine.script(Status(429, {"error": {"message": "too many requests"}}), model="busy-1")
    engine.script(EveryOther(), *ANSWER, model="shaky-1")
    for name in ("dead", "shaky-2"):
        engine.script(FAILS, model=name)
    engine.script(Text("Well"), Text(" now"), Drop(), model="swap-1")
    names = ("good", "cut", "slow", "dead")
    models = [
        *(upstream(engine.base_url, name=name, upstream_model=name) for name in names),
        *(pair(engine, name) for name in ("busy", "shaky")),
        pair(engine, "swap", extra_capabilities=(Capability.CONTINUE_TEXT,)),
    ]
    calls = Calls()
    async with serving(*models, admin_listen=ADMIN, observers=(calls,)) as server:
        load = Load(server, calls)
        kinds = [load.succeed, load.ask_at_once, load.fail_over, load.expire, load.leave, load.cancel]
        kinds += [load.resume, load.be_rejected, load.send_nothing]
        runs = [kind(f"{kind.__name__}-{n}") for n in range(EACH) for kind in kinds]
        await asyncio.gather(*runs, load.each(FEW, load.fail, load.retry, load.switch))
        await load.each(FEW + 1, load.be_refused_by_the_engine)
        load.count("tokengrpc_breaker_changes_total", model="dead", engine="dead", to="open")
        await load.send_nothing_and_leave("")
        await until(lambda: not server.server.admission.active and not calls.running, "all has ended")
        shown = await scrape(server)
        counted = {key: value for key, value in load.counted.items() if value}
        compared = {key: value for key, value in shown.items() if key[0] in COMPARED and value}
        assert without_engine(compared) == counted
        names = (*names, "busy", "shaky", "swap")
        assert all(shown[series("tokengrpc_readers", model=name)] == 0 for name in names if name != "dead")
        assert shown[series("tokengrpc_generations")] == 0
        assert shown[series("tokengrpc_log_bytes")] == server.server.buffers.used_bytes > 0
    # The load has every kind of event that a counter is for, but for a reader that is too slow, limits of
    # tenants (tests/limits/test_rates.py), and what moves to other servers (test_hand_over.py).
    counted_names = {name for name, _ in counted}
    assert COMPARED - counted_names == {
        "tokengrpc_stream_failures_total",
        "tokengrpc_limit_rejections_total",
        "tokengrpc_request_moved_total",
    }
