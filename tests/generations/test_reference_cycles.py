"""What has ended is freed by reference counting alone."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.endings import ENDINGS, LIMITS, forgotten
from tests.support.harness import Served, collect, read_until, serving, until, upstream
from tests.support.live_objects import cyclic_garbage, live_objects, without_collector
from tests.support.script_steps import Pause
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text, UsageChunk
from tests.support.scripted_vllm import ScriptedVllm
from tests.support.several_engines import two_engines
from tests.support.vllm_steps import End, Say
from tokengrpc.config import model_settings
from tokengrpc.core.model import Capability
from tokengrpc.stores.memory import MemoryEventSink

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.several_engines import Two

# gRPC keeps the first and the last AbortError of the process, with the frame that raised it.
WARM_UP, ROUNDS = 2, 2
CONNECTION = "tokengrpc.engines.http.connection.Connection"
# The event sink of the tests keeps all logs.
KEPT = {"tokengrpc.stores.memory.StoredLog", "tokengrpc.core.model.GenerationKey"}


@pytest.fixture(params=[False, True], ids=["in memory", "with an event sink"])
async def two(request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    of_engines = {"extra_capabilities": (Capability.CONTINUE_TEXT,), "max_event_bytes": 65_536}
    sink = {"sink": MemoryEventSink()} if request.param else {}
    async with two_engines(of_a=of_engines, of_b=of_engines, limits=LIMITS, **sink) as engines:
        yield engines


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ended_generation_leaves_no_object(two: Two, ending: str) -> None:
    """With the collector disabled, no object of the product is left once the generation is forgotten."""

    async def run() -> None:
        await ENDINGS[ending](two)
        await forgotten(two.server)

    await leaves_nothing(run, lambda: held(two))


@pytest.mark.parametrize("ending", ["ends", "is cancelled", "is left"])
@pytest.mark.parametrize("kind", ["builtin", "faulty", "anthropic", "vllm"])
async def test_other_engines_leave_no_object(kind: str, ending: str) -> None:
    """Each kind of engine has a decoder, a connection or a task of its own for a generation."""
    async with one_engine(kind) as (server, script):

        async def run() -> None:
            script(whole=ending == "ends")
            call = server.stream("g", prompt="Tell a long story.", max_output_token_count=50)
            if ending != "ends":
                await read_until(call, lambda m: m.tokens)
                await (server.cancel("g") if ending == "is cancelled" else cancel(call))
            if ending != "is left":
                outcome = await collect(call)
                assert (outcome.code is grpc.StatusCode.OK) == (ending == "ends")
            await forgotten(server)

        await leaves_nothing(run, lambda: without_kept(live_objects()))


@asynccontextmanager
async def one_engine(kind: str) -> AsyncIterator[tuple[Served, Callable[..., None]]]:
    """Yields a server on an engine of this kind, and what scripts an answer that is whole or stops midway."""
    if kind in {"builtin", "faulty"}:
        faults = {"faults": {"jitter": 0.001}} if kind == "faulty" else {}
        async with serving(model_settings(name="m", pace=100.0, **faults), limits=LIMITS) as server:
            yield server, lambda *, whole: None
        return
    scripted: Any = ScriptedVllm() if kind == "vllm" else ScriptedEngine(ANTHROPIC)
    first = Say("Hello") if kind == "vllm" else Text("Hello")
    rest = (End(),) if kind == "vllm" else (Finish(), UsageChunk(7, 5), Done())
    async with scripted as engine:
        model = upstream(engine.base_url, kind=kind, api="auto")
        async with serving(model, limits=LIMITS) as server:

            def script(*, whole: bool) -> None:
                engine.script(first, *(rest if whole else (Pause(),)))

            yield server, script


async def cancel(call: Any) -> None:
    call.cancel()


async def leaves_nothing(run: Callable[[], Awaitable[None]], counted: Callable[[], Counter[str]]) -> None:
    """Runs something a few times, and checks that no object of the product is left of it."""
    for _ in range(WARM_UP):
        await run()
    with without_collector():
        before = counted()
        for _ in range(ROUNDS):
            await run()
        with suppress(AssertionError):
            await until(lambda: not counted() - before, "nothing is left", 5.0)
        left = counted() - before
        assert not left
        assert not cyclic_garbage("tokengrpc")


def held(two: Two) -> Counter[str]:
    """Returns the live objects, without open connections to engines and what is kept on purpose."""
    objects = without_kept(live_objects())
    objects[CONNECTION] -= sum(pooled.engine.connection_stats().open_count for pooled in two.engines.values())
    return objects


def without_kept(objects: Counter[str]) -> Counter[str]:
    for name in KEPT:
        del objects[name]
    return objects
