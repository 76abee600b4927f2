"""Servers that continue the generations of one that is gone, from the event store that they share.

The store is in memory. A server that is cut from it seems to be dead to the others; afterwards it is fenced.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from msgspec import structs
from tokenstreaming.v1 import generation_pb2, input_pb2

from tests.support.cut_sink import CutSink
from tests.support.harness import check_gapless, collect, has, read_until, serving, until, upstream
from tests.support.scripted_engine import (
    Done,
    Finish,
    Headers,
    Pause,
    Reasoning,
    ScriptedEngine,
    Stall,
    Status,
    Text,
    ToolCall,
    UsageChunk,
)
from tests.support.wire_dialects import VLLM
from tokengrpc.core.log_head import LogHead
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.stores.memory import MemoryLogs
from tokengrpc.stores.memory_ledger import MemoryLedger
from tokengrpc.wire.tables import FINISH_REASONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.harness import Served
    from tokengrpc.core.ports.ledger import UsageRecord

WORDS = [f" word{n}" for n in range(12)]
REST = WORDS[6:]
END = (Finish(), UsageChunk(7, len(REST)), Done())
SWITCH = input_pb2.Recovery(max_engine_switch_count=1)
LEASE = 0.4


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(VLLM) as engine:
        yield engine


@asynccontextmanager
async def replicas(engine: ScriptedEngine, count: int = 2, **settings: Any) -> AsyncIterator[list[Served]]:
    """Runs servers on one store, with one ledger."""
    logs, ledger = MemoryLogs(), settings.pop("ledger", None) or MemoryLedger()
    sinks = [CutSink(name, logs, lease=LEASE) for name in "abc"[:count]]
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                serving(
                    upstream(engine.base_url, dialect="vllm", caller_keys=True),
                    sink=sink,
                    ledger=ledger,
                    server_name=sink.replica,
                    **settings,
                )
            )
            for sink in sinks
        ]
        try:
            yield servers
        finally:
            for sink in sinks:
                sink.mend()


async def test_another_server_continues_exactly(engine: ScriptedEngine) -> None:
    """Its readers there see the switch and the rest, in one output without a gap; there is one record."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        here = a.stream("g", recovery=SWITCH)
        await read_until(here, has(WORDS[5]))
        engine.script(*map(Text, REST), *END)
        there = b.resume("g")
        before = await read_until(there, has(WORDS[5]))
        a.server.sink.cut()
        outcome = await collect(there)
        assert outcome.code is grpc.StatusCode.OK
        check_gapless([*before, *outcome.messages])
        assert outcome.text == "".join(REST)
        (switch,) = [m.engine_switched for m in outcome.messages if m.HasField("engine_switched")]
        assert switch.reason == "SERVER_LOST"
        a.server.sink.mend()
        fenced = await collect(here)
        assert (fenced.code, fenced.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        (record,) = a.ledger.records.values()
        assert [(each.server, each.output) for each in record.attempts] == [("a", 6), ("b", 6)]
        assert record.usage.output == len(WORDS)
        assert await b.get("g")


@pytest.mark.parametrize(
    "ended", ["refused by the engine before its first event", "whole, and no longer kept"]
)
async def test_an_owner_that_comes_back_after_all_is_over(engine: ScriptedEngine, ended: str) -> None:
    """It is fenced although the log is gone: it stops its engine, and writes no other log under the id."""
    kept = input_pb2.Recovery(max_engine_switch_count=1)
    kept.replay_ttl.FromMilliseconds(1)
    async with replicas(engine) as (a, b):
        begun = ended.startswith("whole")
        engine.script(*map(Text, WORDS[:6] if begun else ()), hold := Pause(), Stall())
        here = a.stream("g", recovery=kept)
        await hold.reached.wait()
        if begun:
            await read_until(here, has(WORDS[5]))
        engine.script(*(*map(Text, REST), *END) if begun else (Status(401),))
        a.server.sink.cut()
        key, logs = GenerationKey("default", "g"), b.server.sink.store
        await until(lambda: logs.find(key) is None, "the log is gone")
        a.server.sink.mend()
        fenced = await collect(here)
        assert (fenced.code, fenced.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        await engine.calls[0].disconnected.wait()
        assert logs.find(key) is None


async def test_its_own_engine_goes_on_without_a_switch_allowed(engine: ScriptedEngine) -> None:
    """The limit of a request concerns other engines. It is told all the same."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        await read_until(a.stream("g"), has(WORDS[5]))
        engine.script(*map(Text, REST), *END)
        there = b.resume("g")
        before = await read_until(there, has(WORDS[5]))
        a.server.sink.cut()
        outcome = await collect(there)
        check_gapless([*before, *outcome.messages])
        (switch,) = [m.engine_switched for m in outcome.messages if m.HasField("engine_switched")]
        assert (outcome.text, switch.reason) == ("".join(REST), "SERVER_LOST")
        assert switch.from_engine == switch.to_engine


async def test_what_a_draining_server_gave_up_continues(engine: ScriptedEngine) -> None:
    """At once, and the switch says that its server was shutting down."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        here = a.stream("g", recovery=SWITCH)
        begun = await read_until(here, has(WORDS[5]))
        engine.script(*map(Text, REST), *END)
        await a.server.drain(0.0)
        assert (await collect(here)).failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
        resumed = await collect(b.resume("g", begun[-1].sequence))
        check_gapless([*begun, *resumed.messages])
        (switch,) = [m.engine_switched for m in resumed.messages if m.HasField("engine_switched")]
        assert (resumed.text, switch.reason) == ("".join(REST), "DRAINING")
        (record,) = b.ledger.records.values()
        assert (record.state, record.usage.output) == (RecordState.CLOSED, len(WORDS))


@pytest.mark.parametrize("finish", [END, (Stall(),)], ids=["its engine's end", "a cancel"])
async def test_an_end_that_was_recorded_and_not_shown(engine: ScriptedEngine, finish: Any) -> None:
    """Readers of the next owner get that end, and the usage that was billed. No engine is asked."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), hold := Pause(), *finish)
        here = a.stream("g", recovery=SWITCH)
        await read_until(here, has(WORDS[5]))
        there = b.resume("g")
        before = await read_until(there, has(WORDS[5]))
        a.server.sink.cut()
        hold.release()
        if finish is not END:
            await a.cancel("g")
        shown, resumed = await collect(here), await collect(there)
        (record,) = a.ledger.records.values()
        assert record.state is RecordState.CLOSED
        check_gapless([*before, *resumed.messages])
        assert (resumed.code, resumed.info and resumed.info.reason) == (
            shown.code,
            shown.info and shown.info.reason,
        )
        for outcome in (shown, resumed):
            assert outcome.finished is not None
            assert outcome.finished.finish_reason == FINISH_REASONS.there[record.finish_reason]
            usage = outcome.messages[-1].usage
            assert (usage.input_token_count, usage.output_token_count) == (
                record.usage.input,
                record.usage.output,
            )
        assert len(engine.calls) == 1


async def test_an_end_whose_events_are_lost_is_told(engine: ScriptedEngine) -> None:
    """The store went back behind the recorded end: nobody writes another text in its place."""
    async with replicas(engine) as (a, b):
        engine.script(Text(WORDS[0]), hold := Pause(), Text(WORDS[1]), Finish(), UsageChunk(7, 2), Done())
        call = a.stream("g")
        await read_until(call, has(WORDS[0]))
        hold.release()
        shown = await collect(call)
        assert (shown.code, shown.text) == (grpc.StatusCode.OK, WORDS[1])
        log = a.server.sink.store.find(GenerationKey("default", "g"))
        del log.records[2:]  # as an old snapshot does
        log.leased_until = 0.0
        outcome = await collect(b.resume("g"))
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.DATA_LOSS, "LOG_DIVERGED")
        assert outcome.failure.ended
        assert outcome.failure.usage.output_token_count == shown.messages[-1].usage.output_token_count
        assert len(engine.calls) == 1


OMIT = input_pb2.OutputOptions(omit_reasoning=True)
PENALTY = input_pb2.Sampling(frequency_penalty=1.0)
STOP = input_pb2.Sampling(stop_sequences=["end"])
TOOL = input_pb2.Tool(name="f")
KEY = (("x-tokengrpc-engine-key", "sk-secret"),)
NOT_CONTINUED = {
    "own key": ({"metadata": KEY}, [Text("One")]),
    "penalties": ({"sampling": PENALTY}, [Text("One")]),
    "a stop sequence may have begun": ({"sampling": STOP}, [Text("One"), Text(" e")]),
    "tools": ({"tools": [TOOL]}, [ToolCall(0, "id", "f", "{")]),
    "only reasoning": ({}, [Reasoning("One")]),
    "only reasoning, which is omitted": ({"output": OMIT}, [Reasoning("One")]),
}


@pytest.mark.parametrize("case", NOT_CONTINUED)
async def test_what_nobody_can_continue_ends(engine: ScriptedEngine, case: str) -> None:
    """With SERVER_LOST and the usage so far; the engine is not asked again."""
    fields, steps = NOT_CONTINUED[case]
    async with replicas(engine) as (a, b):
        engine.script(*steps, hold := Pause(), Stall())
        here = a.stream("g", **{"recovery": SWITCH, **fields})
        await read_until(here, lambda message: message.usage.output_token_count)
        await hold.reached.wait()
        a.server.sink.cut()
        await until(lambda: b.tasks and b.tasks[0].complete, "taken over")
        outcome = await collect(b.resume("g"))
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_LOST")
        assert (outcome.failure.ended, outcome.failure.retry_advice) == (
            True,
            generation_pb2.RETRY_ADVICE_RETRY,
        )
        check_gapless(outcome.messages)
        assert outcome.finished is not None
        (record,) = b.ledger.records.values()
        assert (record.error_reason, record.usage.output) == (
            "SERVER_LOST",
            outcome.failure.usage.output_token_count,
        )
        assert len(engine.calls) == 1
        assert b"sk-secret" not in b.server.sink.log_of(GenerationKey("default", "g")).request


async def test_generations_of_other_models_are_not_in_the_way(engine: ScriptedEngine) -> None:
    """However many were abandoned before, and nobody continues them."""
    async with replicas(engine) as (a, b):
        head = LogHead(record_id="r", model="other", server="c", created=1, replay_ttl=1.0).encode()
        gone = CutSink("c", b.server.sink.store, lease=0.01)
        for number in range(100):
            await gone.claim(GenerationKey("default", f"other{number}"), b"", head, "i")
        engine.script(*map(Text, WORDS[:6]), Stall())
        await read_until(a.stream("g"), has(WORDS[5]))
        engine.script(*map(Text, REST), *END)
        a.server.sink.cut()
        await until(lambda: b.tasks and b.tasks[0].complete, "taken over")


@pytest.mark.parametrize("text", [WORDS[0], ""], ids=["after its first token", "before it"])
async def test_what_may_kill_servers_ends(engine: ScriptedEngine, text: str) -> None:
    """A generation whose servers die again and again is not taken over for ever."""
    async with replicas(engine) as (a, b):
        engine.script(Headers(), *([Text(text)] if text else []), hold := Pause(), Stall())
        here = a.stream("g")
        await read_until(here, lambda message: message.HasField("started") or message.tokens)
        await hold.reached.wait()
        a.server.sink.cut()
        b.server.sink.store.find(GenerationKey("default", "g")).epoch = 8
        await until(lambda: b.tasks and b.tasks[0].complete, "taken over")
        outcome = await collect(b.resume("g"))
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_LOST")
        assert len(engine.calls) == 1


async def test_a_cancel_is_obeyed_by_the_next_owner(engine: ScriptedEngine) -> None:
    """Nothing is generated any more."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        await read_until(a.stream("g", recovery=SWITCH), has(WORDS[5]))
        there = b.resume("g")
        await read_until(there, has(WORDS[5]))
        a.server.sink.cut()
        cancelled = await b.cancel("g")
        outcome = await collect(there)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.CANCELLED, "CANCELLED")
        assert cancelled.state == generation_pb2.GENERATION_STATE_CANCELLED
        assert len(engine.calls) == 1


async def test_a_deadline_that_passed_meanwhile_counts(engine: ScriptedEngine) -> None:
    """The generation ends as it would have on the server that admitted it."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        here = a.stream("g", recovery=SWITCH, timeout=LEASE)
        await read_until(here, has(WORDS[5]))
        there = b.resume("g")
        await read_until(there, has(WORDS[5]))
        a.server.sink.cut()
        outcome = await collect(there)
        assert (outcome.code, outcome.info.reason) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "DEADLINE_EXCEEDED",
        )
        assert outcome.failure.ended
        assert len(engine.calls) == 1


async def test_it_ends_if_no_reader_comes_back(engine: ScriptedEngine) -> None:
    """A while after the takeover, as if the last reader had left then."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        here = a.stream("g", recovery=SWITCH)
        await read_until(here, has(WORDS[5]))
        a.server.sink.cut()
        here.cancel()
        await until(lambda: b.tasks and b.tasks[0].complete, "taken over and ended")
        assert b.tasks[0].snapshot().termination.error.reason == "CANCELLED"
        await engine.calls[1].disconnected.wait()


@pytest.mark.parametrize("kept", [3, 0])
async def test_events_that_the_log_lost_are_written_again(engine: ScriptedEngine, kept: int) -> None:
    """The next owner has them, because its readers have seen them: nothing that was shown is denied."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        here = a.stream("g", recovery=SWITCH)
        await read_until(here, has(WORDS[5]))
        there = b.resume("g")
        before = await read_until(there, has(WORDS[5]))
        engine.script(*map(Text, REST), *END)
        a.server.sink.cut()
        log = b.server.sink.store.find(GenerationKey("default", "g"))
        del log.records[kept:]  # as a failover to a replica that lags does
        outcome = await collect(there)
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, "".join(REST))
        check_gapless([*before, *outcome.messages])
        assert [record.sequence for record in log.records] == list(range(1, log.last + 1))
        assert "".join(t.text for t in (await collect(b.resume("g"))).tokens) == "".join(WORDS)
        here.cancel()


@pytest.mark.parametrize("how", ["by its next append", "by its heartbeat"])
async def test_a_takeover_that_the_store_lost_is_repeated(engine: ScriptedEngine, how: str) -> None:
    """A replica that lags is promoted: it names the owner that is gone. Readers see one whole output."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        await read_until(a.stream("g", recovery=SWITCH), has(WORDS[5]))
        there = b.resume("g")
        first = await read_until(there, has(WORDS[5]))
        engine.script(*map(Text, REST[:3]), hold := Pause(), *map(Text, REST[3:]), *END)
        log = b.server.sink.store.find(GenerationKey("default", "g"))
        before = log.owner, log.epoch, log.last
        a.server.sink.cut()
        messages = await read_until(there, has(REST[2]))
        await hold.reached.wait()
        log.owner, log.epoch, log.leased_until = *before[:2], 0.0
        del log.records[before[2] :]
        if how == "by its heartbeat":
            await until(lambda: log.owner == "b")
        hold.release()
        outcome = await collect(there)
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, "".join(REST[3:]))
        check_gapless([*first, *messages, *outcome.messages])
        assert "".join(t.text for t in (await collect(b.resume("g"))).tokens) == "".join(WORDS)
        assert [record.sequence for record in log.records] == list(range(1, log.last + 1))


async def test_a_lost_takeover_is_not_repeated_over_other_events(
    engine: ScriptedEngine,
) -> None:
    """The old owner was only slow, and has gone on where the store lost the takeover: the next one leaves."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        await read_until(a.stream("g", recovery=SWITCH), has(WORDS[5]))
        there = b.resume("g")
        await read_until(there, has(WORDS[5]))
        engine.script(*map(Text, REST[:3]), hold := Pause(), *map(Text, REST[3:]), *END)
        log = b.server.sink.store.find(GenerationKey("default", "g"))
        before = log.owner, log.epoch, log.last
        a.server.sink.cut()
        await read_until(there, has(REST[2]))
        await hold.reached.wait()
        log.owner, log.epoch, log.leased_until = *before[:2], 0.0
        others = [structs.replace(record, tail=b"other") for record in log.records[before[2] :]]
        log.records[before[2] :] = others
        hold.release()
        outcome = await collect(there)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert log.records[before[2] :] == others


async def test_an_end_that_the_store_lost_is_written_again(engine: ScriptedEngine) -> None:
    """By its owner, as soon as the store is back: other servers have it then, and do not go on."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS), *END)
        assert (await collect(a.stream("g", recovery=SWITCH))).code is grpc.StatusCode.OK
        log = b.server.sink.store.find(GenerationKey("default", "g"))
        for server in (a, b):
            server.server.sink.cut()
        await until(lambda: not (a.server.store_watch.available or b.server.store_watch.available))
        del log.records[1:]  # as a failover to a replica that lags does
        log.leased_until = 0.0
        for server in (a, b):
            server.server.sink.mend()
        await until(lambda: log.ended and b.server.store_watch.available)
        outcome = await collect(b.resume("g"))
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, "".join(WORDS))
        assert len(engine.calls) == 1


async def test_a_stream_that_waited_too_long_for_the_store_resumes(engine: ScriptedEngine) -> None:
    """On the server that ran it, when the store is back: the output is one, and so is the usage record."""
    limits = {"store_retry_time": 0.3}
    async with replicas(engine, 1, limits=limits) as (server,):
        engine.script(*map(Text, WORDS[:6]), hold := Pause(), Text(REST[0]), Stall())
        call = server.stream("g", recovery=SWITCH)
        first = await read_until(call, has(WORDS[5]))
        server.server.sink.cut()
        hold.release()
        await engine.calls[0].disconnected.wait()
        ended = await collect(call)
        assert (ended.info.reason, ended.finished) == ("STORE_UNAVAILABLE", None)
        assert ended.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
        server.server.sink.mend()
        engine.script(*map(Text, REST), *END)
        await until(lambda: server.server.store_watch.available)
        outcome = await collect(server.resume("g", first[-1].sequence))
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, "".join(REST))
        check_gapless([*first, *[message for message in outcome.messages if message.sequence]])
        (record,) = server.ledger.records.values()
        assert record.state is RecordState.CLOSED
        assert record.usage.output == len(WORDS)


class SlowToAdopt(MemoryLedger):
    """Ledger that notes a record's next owner late. `calls` are those of records that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.adopted = asyncio.Event()
        self.calls: list[str] = []

    async def begin(self, record: UsageRecord) -> None:
        if record.record_id in self.records:
            await self.adopted.wait()
            self.calls.append("adopted")
        await super().begin(record)

    async def finish(self, record: UsageRecord) -> None:
        self.calls.append("finished")
        await super().finish(record)


async def test_output_goes_on_while_the_ledger_is_slow(engine: ScriptedEngine) -> None:
    """The record is open already. Its end waits until the ledger knows the next owner."""
    ledger = SlowToAdopt()
    async with replicas(engine, ledger=ledger) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        await read_until(a.stream("g", recovery=SWITCH), has(WORDS[5]))
        engine.script(*map(Text, REST), *END)
        there = b.resume("g")
        await read_until(there, has(WORDS[5]))
        a.server.sink.cut()
        await read_until(there, has(WORDS[-1]))
        assert not ledger.calls
        ledger.adopted.set()
        assert (await collect(there)).code is grpc.StatusCode.OK
        assert ledger.calls == ["adopted", "finished"]


class SlowToClose(MemoryLedger):
    """Ledger that closes the records of server `a` late."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.closing = asyncio.Event(), asyncio.Event()

    async def finish(self, record: UsageRecord) -> None:
        if record.server == "a":
            self.asked.set()
            await self.closing.wait()
        await super().finish(record)


async def test_an_end_that_is_recorded_during_a_takeover(engine: ScriptedEngine) -> None:
    """Readers of both servers see one end, in the log of the next owner, with the usage that was billed."""
    ledger = SlowToClose()
    async with replicas(engine, ledger=ledger) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Finish(), UsageChunk(7, 6), Done())
        here = a.stream("g", recovery=SWITCH)
        begun = await read_until(here, has(WORDS[5]))
        await ledger.asked.wait()
        engine.script(hold := Pause(), Finish(), UsageChunk(7, 1), Done())
        await a.server.sink.release({GenerationKey("default", "g"): 1})
        there = b.resume("g")
        await read_until(there, has(WORDS[5]))
        await hold.reached.wait()
        ledger.closing.set()
        left = await collect(here)
        assert (left.code, left.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert left.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
        hold.release()
        ends = [await collect(there), await collect(b.resume("g", begun[-1].sequence))]
        assert [end.code for end in ends] == [grpc.StatusCode.OK] * 2
        (record,) = ledger.records.values()
        assert [end.messages[-1].usage.output_token_count for end in ends] == [record.usage.output] * 2
        assert record.usage.output == 6
