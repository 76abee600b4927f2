"""The end of a drain with an event store: what has not ended is released for other servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2
from tokenstreaming.v1 import generation_pb2

from tests.generations.test_followers import WORDS, half, has, replicas
from tests.generations.test_stores import Seen
from tests.generations.test_takeovers import END, REST, SWITCH
from tests.generations.test_takeovers import replicas as sharing
from tests.support.harness import check_gapless, collect, read_until, serving, until, upstream
from tests.support.scripted_engine import Pause, ScriptedEngine, Stall, Text
from tests.support.wire_dialects import VLLM
from tests.telemetry.test_metrics import Lingering
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.observer import GenerationEnded, GenerationMoved
from tokengrpc.stores.memory import MemoryEventSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.harness import Outcome


class Away(MemoryEventSink):
    """An event sink that answers nothing while it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.there = asyncio.Event()
        self.there.set()

    async def append(self, key, epoch, records):
        await self.there.wait()
        return await super().append(key, epoch, records)

    async def release(self, epochs):
        await self.there.wait()
        await super().release(epochs)


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(VLLM) as engine:
        yield engine


def check_resumable(outcome: Outcome) -> None:
    """The call ended so that clients resume at once, because the generation has not ended."""
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert outcome.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
    assert not outcome.failure.ended
    assert outcome.finished is None
    assert outcome.detail(error_details_pb2.RetryInfo) is None


async def test_what_has_not_ended_is_released(engine: ScriptedEngine) -> None:
    """The log has what the reader has, and no owner; the engine has stopped; the usage record stays open."""
    seen = Seen()
    async with replicas(engine, 1, observers=[seen]) as (server,):
        engine.script(*half(Stall()))
        call = server.stream("g")
        before = await read_until(call, has(WORDS[5]))
        log = server.server.sink.log_of(server.tasks[0].key)
        await server.server.drain(0.05)
        outcome = await collect(call)
        check_resumable(outcome)
        check_gapless([*before, *outcome.messages])
        await engine.calls[0].disconnected.wait()
        assert (log.owner, log.last) == ("", before[-1].sequence)
        (record,) = server.ledger.records.values()
        assert record.state is RecordState.OPEN
        assert (server.tasks, server.registry.active) == ([], 0)
        assert not seen.of(GenerationEnded)
        (moved,) = seen.of(GenerationMoved)
        assert (moved.key.generation_id, moved.reason) == ("g", "DRAINING")


async def test_what_the_engine_ended_is_not_handed_over(engine: ScriptedEngine) -> None:
    """It ends in the drain time, with its usage, and stays readable until the server has gone."""
    async with replicas(engine, 1) as (server,):
        engine.script(*half(hold := Pause()))
        call = server.stream("g")
        await read_until(call, has(WORDS[5]))
        drained = asyncio.ensure_future(server.server.drain(60))
        await read_until(call, lambda message: message.HasField("drain_notice"))
        hold.release()
        outcome = await collect(call)
        await drained
        assert outcome.code is grpc.StatusCode.OK
        (record,) = server.ledger.records.values()
        assert (record.state, record.usage.output) == (RecordState.CLOSED, len(WORDS))


async def test_a_queued_request_is_released(engine: ScriptedEngine) -> None:
    """Also its callers resume: another server starts it."""
    async with serving(upstream(engine.base_url, max_connections=1), sink=MemoryEventSink()) as server:
        engine.script(Text("One"), Stall())
        first = server.stream("first")
        await read_until(first, has("One"))
        queued = server.stream("queued")
        pool = server.server.catalog.resolve("").pool
        await until(lambda: pool.waiting)
        logs = [server.server.sink.log_of(task.key) for task in server.tasks]
        await server.server.drain(0.05)
        for call in (first, queued):
            check_resumable(await collect(call))
        assert [log.owner for log in logs] == ["", ""]
        assert logs[1].last == 0
        assert len(server.ledger.records) == 1


async def test_a_callers_own_key_is_not_handed_over(engine: ScriptedEngine) -> None:
    """The log does not have the key. So the generation ends, and its caller may start it again."""
    model = upstream(engine.base_url, caller_keys=True)
    async with serving(model, sink=MemoryEventSink()) as server:
        engine.script(Text("One"), Stall())
        call = server.stream("g", metadata=(("x-tokengrpc-engine-key", "sk-zebra-77"),))
        await read_until(call, has("One"))
        await server.server.drain(0.05)
        outcome = await collect(call)
        assert outcome.info.reason == "DRAINING"
        assert outcome.failure.retry_advice == generation_pb2.RETRY_ADVICE_RETRY
        assert outcome.finished is not None
        (record,) = server.ledger.records.values()
        assert record.state is RecordState.CLOSED


async def test_a_store_that_hangs_does_not_hold_up_the_drain(engine: ScriptedEngine) -> None:
    """Readers keep the cursor of what the store has acknowledged. The usage record stays open."""
    sink = Away()
    limits = {"store_timeout": 0.2, "store_retry_time": 600.0}
    async with serving(upstream(engine.base_url, dialect="vllm"), sink=sink, limits=limits) as server:
        engine.script(*half(hold := Pause())[:-3], Stall())
        call = server.stream("g")
        before = await read_until(call, has(WORDS[5]))
        await hold.reached.wait()
        key = server.tasks[0].key
        sink.there.clear()
        hold.release()
        await until(lambda: server.tasks[0].generation.token_count == len(WORDS))
        await server.server.drain(0.05)
        outcome = await collect(call)
        check_resumable(outcome)
        check_gapless([*before, *outcome.messages])
        assert outcome.text == ""
        assert sink.log_of(key).last == before[-1].sequence
        (record,) = server.ledger.records.values()
        assert record.state is RecordState.OPEN
        sink.there.set()


async def test_an_engine_that_does_not_react_is_left_behind() -> None:
    """With a store, the log is released; without one, the generation ends as it always did."""
    async with (
        serving(sink=MemoryEventSink(), engines={"builtin": Lingering()}) as shared,
        serving(engines={"builtin": Lingering()}) as alone,
    ):
        calls = [server.stream("g") for server in (shared, alone)]
        for call in calls:
            await read_until(call, lambda message: message.tokens)
        log = shared.server.sink.log_of(shared.tasks[0].key)
        await asyncio.gather(shared.server.drain(0.05), alone.server.drain(0.05))
        check_resumable(await collect(calls[0]))
        assert log.owner == ""
        outcome = await collect(calls[1])
        assert (outcome.info.reason, outcome.failure.ended) == ("DRAINING", True)
        states = [record.state for server in (shared, alone) for record in server.ledger.records.values()]
        assert states == [RecordState.OPEN, RecordState.CLOSED]


async def test_a_server_that_stays_continues_it(engine: ScriptedEngine) -> None:
    """Not one that is leaving as well. The reader resumes there, and gets the rest exactly, in one record."""
    async with sharing(engine, 3) as (a, b, c):
        engine.script(*map(Text, WORDS[:6]), Stall())
        call = a.stream("g", recovery=SWITCH)
        before = await read_until(call, has(WORDS[5]))
        engine.script(*map(Text, REST), *END)
        await b.server.withdraw()
        await a.server.drain(0.05)
        check_resumable(await collect(call))
        asked, resumed = b.resume("g"), c.resume("g", before[-1].sequence)
        outcome = await collect(resumed)
        assert outcome.code is grpc.StatusCode.OK
        check_gapless([*before, *outcome.messages])
        assert outcome.text == "".join(REST)
        (switch,) = [m.engine_switched for m in outcome.messages if m.HasField("engine_switched")]
        assert switch.reason == "DRAINING"
        assert (await collect(asked)).text == "".join(WORDS)
        (record,) = a.ledger.records.values()
        assert [(each.server, each.output) for each in record.attempts] == [("a", 6), ("c", 6)]
        assert record.state is RecordState.CLOSED
