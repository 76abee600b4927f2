"""Stores that are slow, unavailable, broken or fenced.

What callers receive, and what is recorded in the end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from tokenstreaming.v1 import generation_pb2, input_pb2

from tests.support.harness import check_gapless, collect, failing, has, read_until, serving, until, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Stall, Text, UsageChunk
from tests.support.wire_dialects import VLLM
from tokengrpc.core.events import RecordKind
from tokengrpc.core.generation import Generation
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.log import AppendStatus, TakeoverStatus
from tokengrpc.core.ports.observer import AttemptEnded, BreakerChanged, ObserverEvent, StoreStateChanged
from tokengrpc.errors import BudgetExhausted, StoreUnavailable
from tokengrpc.stores.memory import MemoryEventSink
from tokengrpc.stores.memory_ledger import MemoryLedger
from tokengrpc.wire.encoding import ProtobufRecorder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tokengrpc.core.model import Usage
    from tokengrpc.core.ports.budget import BudgetRequest

WORDS = [f" word{n}" for n in range(40)]
WHOLE = (*(Text(word) for word in WORDS), Finish(), UsageChunk(7, len(WORDS)), Done())


class When:
    """A step of an engine's script that waits for a condition."""

    def __init__(self, condition: Callable[[], Any]) -> None:
        self.condition = condition

    async def run(self, call: Any) -> None:
        await until(self.condition)


class Seen:
    """An observer that keeps all events."""

    def __init__(self) -> None:
        self.events: list[ObserverEvent] = []

    def on_event(self, event: ObserverEvent) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


# --- The event sink


class SlowSink(MemoryEventSink):
    """An event sink that acknowledges each append after a delay in seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.appends = 0

    async def append(self, key, epoch, records):
        self.appends += 1
        await asyncio.sleep(self.seconds)
        return await super().append(key, epoch, records)


async def test_a_slow_sink_stalls_nothing() -> None:
    """Appends take ten times the inter-token timeout. The engine is read meanwhile, and no breaker opens."""
    limit, seen = 0.2, Seen()
    sink = SlowSink(10 * limit)
    limits = {"inter_token_timeout": limit, "first_token_timeout": 5 * limit, "store_timeout": 100 * limit}
    async with (
        ScriptedEngine(VLLM) as engine,
        serving(
            upstream(engine.base_url, dialect="vllm"), sink=sink, limits=limits, observers=[seen]
        ) as server,
    ):
        hold = Pause()
        engine.script(*WHOLE[:20], hold, *WHOLE[20:])
        reading = asyncio.ensure_future(collect(server.stream("g")))
        await hold.reached.wait()
        await until(lambda: sink.appends, "something is on its way")
        # The engine has sent half of the output, and readers have received none of it yet.
        assert server.tasks[0].snapshot().last_sequence == 0
        hold.release()
        outcome = await reading
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, "".join(WORDS))
        check_gapless(outcome.messages)
        # Records that were written during an append were sent together.
        assert sink.appends < len(WORDS) / 2
        assert [event.outcome for event in seen.of(AttemptEnded)] == ["SUCCESS"]
        assert not seen.of(BreakerChanged)
        assert len(engine.calls) == 1


async def test_a_full_writer_pauses_the_engine_and_its_timeouts() -> None:
    """Nothing is read beyond the bound on unacknowledged bytes.

    Waiting for room does not count as silence.
    """
    limit = 0.2
    sink = SlowSink(4 * limit)
    limits = {"inter_token_timeout": limit, "store_timeout": 100 * limit, "max_unacknowledged_bytes": 1024}
    words = [f" {n:0500d}" for n in range(12)]
    async with ScriptedEngine() as engine:
        steps = [
            step
            for n in range(0, len(words), 3)
            for step in (Text(*words[n : n + 3]), When(lambda n=n: sink.appends > n // 3))
        ]
        engine.script(*steps, *WHOLE[-3:])
        async with serving(upstream(engine.base_url), sink=sink, limits=limits) as server:
            outcome = await collect(server.stream("g"))
            assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, "".join(words))
            assert sink.appends >= 4


async def test_a_sink_that_lost_events_receives_them_again(engine: ScriptedEngine) -> None:
    """A store that failed over to an older copy is repaired, and has the complete log in the end."""
    sink = MemoryEventSink()
    async with serving(upstream(engine.base_url), sink=sink) as server:
        engine.script(*WHOLE[:10], hold := Pause(), *WHOLE[10:])
        call = server.stream("g")
        first = await read_until(call, has(WORDS[9]))
        key = server.tasks[0].key
        assert sink.log_of(key).last == first[-1].sequence
        del sink.log_of(key).records[1:]
        hold.release()
        outcome = await collect(call)
        assert outcome.code is grpc.StatusCode.OK
        check_gapless([*first, *outcome.messages])
        sequences = [record.sequence for record in sink.log_of(key).records]
        assert sequences == list(range(1, outcome.messages[-1].sequence + 1))


class Away(MemoryEventSink):
    """An event sink that refuses appends while it is unavailable."""

    away = False

    async def append(self, key, epoch, records):
        await self.check()
        return await super().append(key, epoch, records)

    async def check(self):
        if self.away:
            raise StoreUnavailable("connection refused")


async def test_streams_resume_after_a_sink_stayed_unavailable(engine: ScriptedEngine) -> None:
    """They end with what readers have received. The failure does not count against the engine."""
    seen = Seen()
    sink, limits = Away(), {"store_retry_time": 0.3}
    async with serving(upstream(engine.base_url), sink=sink, limits=limits, observers=[seen]) as server:
        engine.script(Text("One"), Text(" two"), hold := Pause(), Text(" three"), Stall())
        call = server.stream("g")
        first = await read_until(call, has(" two"))
        sink.away = True
        hold.release()
        outcome = await collect(call)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert outcome.detail(error_details_pb2.RetryInfo)
        assert outcome.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
        assert not outcome.messages
        check_gapless(first)
        assert outcome.failure.last_sequence == first[-1].sequence
        assert [event.outcome for event in seen.of(AttemptEnded)] == ["NEUTRAL"]
        await engine.calls[0].disconnected.wait()


async def test_a_fenced_owner_writes_nothing_more(engine: ScriptedEngine) -> None:
    """Another replica has taken over. Its log is left alone, and the engine call ends."""
    sink = MemoryEventSink("a")
    other = MemoryEventSink("b", sink.store)
    async with serving(upstream(engine.base_url), sink=sink) as server:
        engine.script(Text("One"), hold := Pause(), Text(" two"), Stall())
        call = server.stream("g")
        await read_until(call, lambda message: message.tokens)
        await hold.reached.wait()
        key = server.tasks[0].key
        before = list(sink.log_of(key).records)
        await sink.release({key: 1})
        assert (await other.take_over(key, 1)).status is TakeoverStatus.TAKEN
        hold.release()
        outcome = await collect(call)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert other.log_of(key).records == before
        await engine.calls[0].disconnected.wait()


@pytest.mark.parametrize("silent", [False, True])
async def test_a_log_that_is_gone_is_written_again(engine: ScriptedEngine, silent: bool) -> None:
    """By the next append; while the engine is `silent`, by the heartbeat."""
    sink = MemoryEventSink(lease=0.2 if silent else 3600.0)
    async with serving(upstream(engine.base_url), sink=sink) as server:
        engine.script(*WHOLE[:10], hold := Pause(), *WHOLE[10:])
        call = server.stream("g")
        first = await read_until(call, has(WORDS[9]))
        key, incarnation = server.tasks[0].key, first[0].started.log_incarnation
        sink.store.delete(key)
        if silent:
            await until(lambda: (log := sink.store.find(key)) and log.last == first[-1].sequence)
        hold.release()
        outcome = await collect(call)
        assert outcome.code is grpc.StatusCode.OK
        check_gapless([*first, *outcome.messages])
        assert sink.log_of(key).incarnation == incarnation
        sequences = [record.sequence for record in sink.log_of(key).records]
        assert sequences == list(range(1, outcome.messages[-1].sequence + 1))


async def test_a_log_that_cannot_be_written_again(engine: ScriptedEngine) -> None:
    """No event is shown that is not in a log: its beginning is no longer kept anywhere."""
    sink = MemoryEventSink(lease=3600.0)
    limits, words = {"generation_log_bytes": 2048}, [letter * 1500 for letter in "ab"]
    async with serving(upstream(engine.base_url), sink=sink, limits=limits) as server:
        first = Pause()
        engine.script(Text(words[0]), first, Text(words[1]), hold := Pause(), Text(" two"), Stall())
        call = server.stream("g")
        await read_until(call, has(words[0]))
        first.release()
        await read_until(call, has(words[1]))
        sink.store.delete(server.tasks[0].key)
        hold.release()
        outcome = await collect(call)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert outcome.text == ""
        await engine.calls[0].disconnected.wait()


class WithoutMessages(MemoryEventSink):
    """A sink that loses all messages of cancels."""

    async def cancels(self) -> AsyncGenerator[GenerationKey, None]:
        """Yields nothing, until it is cancelled."""
        await asyncio.Event().wait()
        yield GenerationKey("", "")


async def test_a_cancel_on_another_replica_ends_the_generation(engine: ScriptedEngine) -> None:
    """The next append reports it, if the message was lost."""
    sink = WithoutMessages(lease=3600.0)
    async with serving(upstream(engine.base_url), sink=sink) as server:
        engine.script(Text("One"), hold := Pause(), Text(" two"), Stall())
        call = server.stream("g")
        await read_until(call, lambda message: message.tokens)
        await hold.reached.wait()
        await sink.publish_cancel(server.tasks[0].key)
        hold.release()
        outcome = await collect(call)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.CANCELLED, "CANCELLED")
        assert outcome.text == " two"


async def test_an_id_in_use_on_another_replica_is_refused(engine: ScriptedEngine) -> None:
    """If its request differs. Equal ones attach (test_followers.py)."""
    sink = MemoryEventSink("a")
    other = MemoryEventSink("b", sink.store)
    engine.script(Text("One"), Stall())
    async with (
        serving(upstream(engine.base_url), sink=sink) as first,
        serving(upstream(engine.base_url), sink=other) as second,
    ):
        call = first.stream("g")
        await read_until(call, lambda message: message.tokens)
        outcome = await collect(second.stream("g", max_output_token_count=5))
        assert outcome.info.reason == "GENERATION_ID_REUSED"
        assert len(engine.calls) == 1


def test_every_outcome_of_an_append_is_tested() -> None:
    """A new outcome needs a test above."""
    assert len(AppendStatus) == 6


# --- The ledger


class TroubledLedger(MemoryLedger):
    """A ledger whose calls first run `trouble`, if it is set. It counts the records that it has stored."""

    def __init__(self, trouble: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__()
        self.trouble = trouble
        self.finished: Counter[str] = Counter()
        self.troubled = 0

    async def _suffer(self) -> None:
        if self.trouble is not None:
            self.troubled += 1
            await self.trouble()

    async def begin(self, record) -> None:
        await self._suffer()
        await super().begin(record)

    async def checkpoint(self, usages) -> None:
        await self._suffer()
        await super().checkpoint(usages)

    async def finish(self, record) -> None:
        await self._suffer()
        self.finished[record.record_id] += 1
        await super().finish(record)


async def refuse() -> None:
    raise StoreUnavailable("the database is restarting")


async def crash() -> None:
    raise ZeroDivisionError("secret internals")


async def hang() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("trouble", [refuse, crash, hang])
async def test_an_unavailable_ledger_costs_no_output(engine: ScriptedEngine, trouble, tmp_path) -> None:
    """All callers receive complete output.

    When the ledger recovers, each generation has exactly one record.
    """
    ledger, seen = TroubledLedger(trouble), Seen()
    limits = {"store_timeout": 0.2}
    async with serving(
        upstream(engine.base_url), ledger=ledger, limits=limits, observers=[seen], data_dir=str(tmp_path)
    ) as server:
        engine.script(*WHOLE)
        outcomes = await asyncio.gather(*(collect(server.stream(f"g{n}")) for n in range(20)))
        assert {(o.code, o.text) for o in outcomes} == {(grpc.StatusCode.OK, "".join(WORDS))}
        assert not ledger.records
        assert [event.available for event in seen.of(StoreStateChanged)] == [False]
        kept = (tmp_path / "unwritten-usage.jsonl").read_bytes()
        assert (kept.count(b'"begin":{'), kept.count(b'"finish":{')) == (20, 20)
        ledger.trouble = None
        await until(lambda: not server.server.billing.waiting, "all is written")
        assert [event.available for event in seen.of(StoreStateChanged)] == [False, True]
        check_one_record_each(ledger, 20)
        await until(lambda: not (tmp_path / "unwritten-usage.jsonl").stat().st_size, "the spill is empty")
        # From now on, records are written at once again.
        await collect(server.stream("later"))
        check_one_record_each(ledger, 21)


@pytest.mark.parametrize("which", ["begin", "finish"])
async def test_a_ledger_that_fails_once_costs_nothing(engine: ScriptedEngine, which: str) -> None:
    """The caller receives its output, and the ledger its record."""
    ledger = TroubledLedger()
    calls = 0

    async def once() -> None:
        nonlocal calls
        calls += 1
        if calls == (1 if which == "begin" else 2):
            raise StoreUnavailable("a deadlock was detected")

    ledger.trouble = once
    async with serving(upstream(engine.base_url), ledger=ledger) as server:
        engine.script(*WHOLE)
        outcome = await collect(server.stream("g"))
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, "".join(WORDS))
        await until(lambda: ledger.finished and not server.server.billing.waiting)
        check_one_record_each(ledger, 1)


def check_one_record_each(ledger: TroubledLedger, count: int) -> None:
    assert len(ledger.records) == count
    assert set(ledger.finished.values()) == {1}
    for record in ledger.records.values():
        assert (record.finish_reason, record.usage.output) == ("END", len(WORDS))


async def test_a_strict_server_refuses_what_it_cannot_record(engine: ScriptedEngine) -> None:
    """New generations wait for the ledger; running ones succeed.

    When the ledger recovers, new ones are accepted.
    """
    ledger = TroubledLedger()
    async with serving(upstream(engine.base_url), ledger=ledger, ledger_outage="strict") as server:
        engine.script(Text("One"), hold := Pause(), Finish(), UsageChunk(7, 1), Done())
        running = server.stream("running")
        await read_until(running, lambda message: message.tokens)
        ledger.trouble = refuse
        for n in range(3):
            outcome = await collect(server.stream(f"new{n}"))
            assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert outcome.detail(error_details_pb2.RetryInfo)
        hold.release()
        ended = await collect(running)
        assert ended.code is grpc.StatusCode.OK
        ledger.trouble = None
        await until(lambda: "running" in {record.generation_id for record in ledger.records.values()})
        engine.script(*WHOLE)
        await until(lambda: not server.server.billing.waiting)
        outcome = await collect(server.stream("again"))
        assert outcome.code is grpc.StatusCode.OK


# --- Budgets and authenticators


class Tokens:
    """A budget of a number of output tokens for each generation."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.reserved: list[tuple[str, str, int, int | None]] = []
        self.settled: list[Usage] = []

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def reserve(self, request: BudgetRequest) -> Tokens:
        tenant, most = request.identity.tenant.name, request.max_output_token_count
        self.reserved.append((tenant, request.model, request.input_token_count, most))
        return self

    def spend(self, usage: Usage) -> bool:
        return usage.output <= self.most

    def refusal(self) -> BudgetExhausted:
        return BudgetExhausted("the budget is spent")

    async def settle(self, usage: Usage) -> None:
        self.settled.append(usage)


async def test_an_exhausted_budget_ends_the_stream(engine: ScriptedEngine) -> None:
    """With the partial output and the exact usage. The advice is NEVER."""
    budget = Tokens(3)
    async with serving(upstream(engine.base_url), budget=budget) as server:
        engine.script(*(Text(" a") for _ in range(10)), Stall())
        outcome = await collect(server.stream("g", prompt="four characters each", max_output_token_count=50))
        assert (outcome.code, outcome.info.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "BUDGET_EXHAUSTED",
        )
        usage = outcome.messages[-1].usage
        assert outcome.text == " a" * usage.output_token_count
        assert usage.output_token_count >= 4
        assert budget.reserved == [("default", "scripted", 5, 50)]
        assert [settled.output for settled in budget.settled] == [usage.output_token_count]
        (record,) = server.ledger.records.values()
        assert (record.error_reason, record.usage.output) == ("BUDGET_EXHAUSTED", usage.output_token_count)
        await engine.calls[0].disconnected.wait()


async def test_reservations_are_settled_however_a_generation_ends(engine: ScriptedEngine) -> None:
    """Each one exactly once."""
    budget = Tokens(1000)
    async with serving(upstream(engine.base_url), budget=budget) as server:
        engine.script(*WHOLE)
        await collect(server.stream("good"))
        engine.script(Text("One"), Stall())
        call = server.stream("left")
        await read_until(call, lambda message: message.tokens)
        call.cancel()
        await until(lambda: len(budget.settled) == 2)
        assert len(budget.reserved) == 2


@pytest.mark.parametrize(("owner", "name"), [(Generation, "end"), (ProtobufRecorder, "records")])
async def test_an_end_that_cannot_be_published_is_billed(
    engine: ScriptedEngine, monkeypatch, owner: type, name: str
) -> None:
    """Its record is closed, and its reservation returned, once, whether a bug comes before or after."""
    method = getattr(owner, name)

    def broken(self, *arguments):
        if name == "end" or arguments[0][-1].kind is RecordKind.FINISHED:
            raise ZeroDivisionError("secret internals")
        return method(self, *arguments)

    budget = Tokens(1000)
    async with serving(upstream(engine.base_url), budget=budget) as server:
        monkeypatch.setattr(owner, name, broken)
        engine.script(*WHOLE)
        outcome = await collect(server.stream("g"))
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        (record,) = server.ledger.records.values()
        assert record.state is RecordState.CLOSED
        assert (record.usage.input, record.usage.output) == (7, len(WORDS))
        assert budget.settled == [record.usage]


async def test_an_authenticator_that_hangs_is_reported() -> None:
    """Within the time bound on store calls. Health checks still work."""

    class Hanging:
        async def start(self) -> None:
            pass

        async def close(self) -> None:
            pass

        async def authenticate(self, metadata, peer):
            await asyncio.Event().wait()

    async with serving(authenticator=Hanging(), limits={"store_timeout": 0.1}) as server:
        outcome = await failing(server.get("g"))
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        outcome = await collect(server.stream("g", recovery=input_pb2.Recovery()))
        assert outcome.info.reason == "STORE_UNAVAILABLE"
