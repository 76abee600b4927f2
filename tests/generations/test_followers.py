"""Several servers on one event store: reading and cancelling a generation on a server that does not run it.

The store is in memory and shared by servers in one process, each with its own sockets.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tokenstreaming.v1 import generation_pb2, input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.cut_sink import CutSink
from tests.support.harness import check_gapless, collect, failing, has, read_until, serving, until, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Stall, Text, UsageChunk
from tests.support.wire_dialects import VLLM
from tokengrpc.core.model import GenerationKey
from tokengrpc.errors import LogDiverged
from tokengrpc.stores.memory import MemoryEventSink, MemoryLogs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from tests.support.harness import Served
    from tokengrpc.core.ports.log import Record

WORDS = [f" word{n}" for n in range(12)]
END = (Finish(), UsageChunk(7, len(WORDS)), Done())
DETACH = pb.StreamTokensRequest(recovery={"disconnect_action": input_pb2.DISCONNECT_ACTION_DETACH}).recovery
LEASE = 0.4


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(VLLM) as engine:
        yield engine


@asynccontextmanager
async def replicas(
    engine: ScriptedEngine, count: int = 2, sinks: Sequence[MemoryEventSink] = (), **settings: Any
) -> AsyncIterator[list[Served]]:
    """Runs servers on one store. The first of them runs nothing unless it is asked to."""
    logs = MemoryLogs()
    sinks = sinks or [MemoryEventSink(name, logs, lease=LEASE) for name in "abc"[:count]]
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                serving(
                    upstream(engine.base_url, dialect="vllm"),
                    sink=sink,
                    server_name=sink.replica,
                    **settings,
                )
            )
            for sink in sinks
        ]


def half(hold: Pause) -> tuple[Any, ...]:
    """Returns a script that waits in the middle of its output."""
    return (*map(Text, WORDS[:6]), hold, *map(Text, WORDS[6:]), *END)


def events(messages: list[Any]) -> bytes:
    """Returns the events of messages, whichever messages they came in."""
    whole = pb.StreamTokensResponse()
    for message in messages:
        if message.WhichOneof("notice") is None:
            whole.MergeFrom(message)
    return whole.SerializeToString(deterministic=True)


async def test_a_resume_on_another_server_gives_the_same_rest(engine: ScriptedEngine) -> None:
    """The events are those of the owner, byte for byte; the second half arrives while it is produced."""
    async with replicas(engine) as (a, b):
        engine.script(*half(hold := Pause()))
        call = a.stream("g")
        await read_until(call, has(WORDS[5]))
        resumed = b.resume("g")
        first = await read_until(resumed, has(WORDS[5]))
        assert first[0].attached.last_sequence == a.tasks[0].subscribers.buffer.last_sequence
        hold.release()
        there, here = await collect(resumed), await collect(call)
        assert (there.code, here.code) == (grpc.StatusCode.OK, grpc.StatusCode.OK)
        whole = await collect(a.resume("g"))
        again = await collect(b.resume("g"))
        check_gapless(again.messages)
        assert again.text == whole.text == "".join(WORDS)
        assert events(again.messages) == events(whole.messages)
        assert len(engine.calls) == 1


async def test_what_was_followed_to_its_end_needs_no_store(engine: ScriptedEngine) -> None:
    """A reader that has lost the end can have it from there while the store is away."""
    logs = MemoryLogs()
    sinks = [CutSink(name, logs, lease=LEASE) for name in "ab"]
    async with replicas(engine, sinks=sinks) as (a, b):
        engine.script(*half(hold := Pause()))
        call = a.stream("g")
        await read_until(call, has(WORDS[5]))
        resumed = b.resume("g")
        before = await read_until(resumed, has(WORDS[5]))
        hold.release()
        await collect(call)
        await collect(resumed)
        (followed,) = b.server.registry.followed()
        with followed.kept():
            sinks[1].cut()
            rest = await collect(b.resume("g", before[-1].sequence))
        assert (rest.code, rest.text) == (grpc.StatusCode.OK, "".join(WORDS[6:]))
        other = await collect(b.resume("other"))
        assert (other.code, other.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        sinks[1].mend()


@pytest.mark.parametrize("lost", ["log", "events"])
async def test_a_store_that_was_just_away_proves_no_absence(engine: ScriptedEngine, lost: str) -> None:
    """It may have lost the log, or its last events, which the owner has not written again yet."""
    logs = MemoryLogs()
    sinks = [CutSink(name, logs, lease=60.0) for name in "ab"]
    async with replicas(engine, sinks=sinks) as (a, b):
        engine.script(*half(hold := Pause()))
        call = a.stream("g")
        shown = (await read_until(call, has(WORDS[5])))[-1].sequence
        sinks[1].cut()
        await collect(b.resume("g"))
        key = GenerationKey("default", "g")
        if lost == "log":
            logs.delete(key)
        else:
            del logs.find(key).records[1:]
        sinks[1].mend()
        await until(lambda: b.server.store_watch.available)
        early = await collect(b.resume("g", shown))
        assert (early.code, early.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        hold.release()
        await collect(call)
        rest = await collect(b.resume("g", shown))
        assert (rest.code, rest.text) == (grpc.StatusCode.OK, "".join(WORDS[6:]))
        whole = await collect(b.resume("g"))
        assert (whole.code, whole.text) == (grpc.StatusCode.OK, "".join(WORDS))


async def test_the_same_call_on_another_server_attaches(engine: ScriptedEngine) -> None:
    """StreamTokens and GenerateText with an equal request read it; another request is refused."""
    async with replicas(engine) as (a, b):
        engine.script(*half(hold := Pause()))
        call = a.stream("g")
        await read_until(call, has(WORDS[5]))
        other = b.stream("g")
        await read_until(other, has(WORDS[5]))
        reused = await collect(b.stream("g", prompt="another prompt"))
        assert (reused.code, reused.info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "GENERATION_ID_REUSED")
        hold.release()
        assert (await collect(other)).code is (await collect(call)).code is grpc.StatusCode.OK
        answer = await b.stub.GenerateText(pb.GenerateTextRequest(request=b.request("g")))
        assert answer.text == "".join(WORDS)
        assert len(engine.calls) == 1
        # One record, at the server that ran it.
        assert (len(a.ledger.records), len(b.ledger.records)) == (1, 0)


async def test_get_generation_says_the_same_everywhere(engine: ScriptedEngine) -> None:
    """While it runs and after its end. Who reads, and the times of attempts, are known to the owner alone."""
    async with replicas(engine) as (a, b):
        engine.script(*half(hold := Pause()))
        call = a.stream("g", labels={"team": "x"}, recovery=DETACH)
        await read_until(call, has(WORDS[5]))
        for ended in (False, True):
            if ended:
                hold.release()
                await collect(call)
            here, there = await a.get("g"), await b.get("g")
            for field in ("reader_count", "attempts"):
                here.ClearField(field)
                there.ClearField(field)
            assert there == here
        assert here.state == generation_pb2.GENERATION_STATE_SUCCEEDED


async def test_a_cancel_on_another_server_stops_the_engine(engine: ScriptedEngine) -> None:
    """The owner ends it as for its own cancel, and all readers on both servers are told."""
    async with replicas(engine) as (a, b):
        engine.script(Text("One"), Stall())
        here, there = a.stream("g"), b.resume("x")
        await read_until(here, has("One"))
        assert (await collect(there)).code is grpc.StatusCode.NOT_FOUND
        there = b.resume("g")
        await read_until(there, has("One"))
        cancelled = await b.cancel("g")
        assert cancelled.state == generation_pb2.GENERATION_STATE_CANCELLED
        for outcome in (await collect(here), await collect(there)):
            assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.CANCELLED, "CANCELLED")
            assert outcome.failure.ended
            assert outcome.finished is not None
        await engine.calls[0].disconnected.wait()


async def test_a_reader_on_another_server_keeps_it_running(engine: ScriptedEngine) -> None:
    """The last reader has left when it has left on all servers, not on the one that runs it."""
    async with replicas(engine) as (a, b):
        engine.script(*half(hold := Pause()))
        here = a.stream("g")
        await read_until(here, has(WORDS[5]))
        there = b.resume("g")
        await read_until(there, has(WORDS[5]))
        sink = a.server.sink
        await until(lambda: sink.log_of(a.tasks[0].key).count(sink.store.now()) == 2)
        here.cancel()
        await until(lambda: not a.tasks[0].subscribers)
        hold.release()
        outcome = await collect(there)
        assert outcome.code is grpc.StatusCode.OK
        assert outcome.text == "".join(WORDS[6:])


async def test_it_ends_when_the_last_reader_anywhere_leaves(engine: ScriptedEngine) -> None:
    """The owner learns by its heartbeat that the reader elsewhere has left."""
    async with replicas(engine) as (a, b):
        engine.script(Text("One"), Stall())
        here = a.stream("g")
        await read_until(here, has("One"))
        there = b.resume("g")
        await read_until(there, has("One"))
        sink = a.server.sink
        await until(lambda: sink.log_of(a.tasks[0].key).count(sink.store.now()) == 2)
        here.cancel()
        await until(lambda: not a.tasks[0].subscribers)
        there.cancel()
        await engine.calls[0].disconnected.wait()
        await until(lambda: a.tasks[0].complete)
        assert a.tasks[0].snapshot().termination.error.reason == "CANCELLED"


async def test_one_follower_serves_all_readers_of_a_server(engine: ScriptedEngine) -> None:
    """And it is gone once nobody reads."""
    async with replicas(engine) as (a, b):
        engine.script(*half(hold := Pause()))
        call = a.stream("g")
        await read_until(call, has(WORDS[5]))
        readers = [b.resume("g") for _ in range(5)]
        for reader in readers:
            await read_until(reader, has(WORDS[5]))
        assert [len(follower.subscribers) for follower in b.registry.followed()] == [5]
        hold.release()
        for reader in (call, *readers):
            assert (await collect(reader)).code is grpc.StatusCode.OK
        await until(lambda: not b.registry.followed())
        assert b.server.buffers.used_bytes == 0


async def test_a_wrong_cursor_is_refused_everywhere(engine: ScriptedEngine) -> None:
    """Beyond the end, of another log, or with another checksum."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS), *END)
        whole = await collect(a.stream("g"))
        last = whole.messages[-1].sequence
        cases = {
            "SEQUENCE_OUT_OF_RANGE": b.resume("g", last + 1),
            "GENERATION_NOT_FOUND": b.resume("g", 2, log="another"),
            "LOG_DIVERGED": b.resume("g", 2, checksum=1),
        }
        assert {reason: (await collect(call)).info.reason for reason, call in cases.items()} == {
            reason: reason for reason in cases
        }
        good = await collect(b.resume("g", last, checksum=whole.messages[-1].output_checksum))
        assert good.code is grpc.StatusCode.OK


async def test_what_is_nowhere_is_not_found(engine: ScriptedEngine) -> None:
    """For all three calls that name a generation."""
    async with replicas(engine) as (a, _):
        for outcome in (
            await failing(a.get("g")),
            await failing(a.cancel("g")),
            await collect(a.resume("g")),
        ):
            assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.NOT_FOUND, "GENERATION_NOT_FOUND")


class Racing(MemoryEventSink):
    """A replica whose first look at the store lasts until the other one has looked as well."""

    barrier = asyncio.Barrier(2)
    looked = False

    async def describe(self, key):
        state = await super().describe(key)
        if not self.looked:
            self.looked = True
            await self.barrier.wait()
        return state


@pytest.mark.parametrize("method", ["stream", "generate"])
async def test_an_id_that_two_servers_start_runs_once(engine: ScriptedEngine, method: str) -> None:
    """Both callers receive the output, as if one of them had come a moment later."""
    logs = MemoryLogs()
    engine.script(*map(Text, WORDS), *END)
    async with AsyncExitStack() as stack:
        servers = []
        for name in "ab":
            sink = Racing(name, logs, lease=LEASE)
            Racing.barrier = asyncio.Barrier(2)
            models = upstream(engine.base_url, dialect="vllm")
            servers.append(await stack.enter_async_context(serving(models, sink=sink, server_name=name)))
        if method == "stream":
            outcomes = await asyncio.gather(*(collect(server.stream("g")) for server in servers))
            assert [outcome.code for outcome in outcomes] == [grpc.StatusCode.OK] * 2
            for outcome in outcomes:
                check_gapless(outcome.messages)
        else:
            request = pb.GenerateTextRequest(request=servers[0].request("g"))
            outcomes = await asyncio.gather(*(server.stub.GenerateText(request) for server in servers))
        assert [outcome.text for outcome in outcomes] == ["".join(WORDS)] * 2
        assert len(engine.calls) == 1


class DivergingSink(MemoryEventSink):
    """Finds that the store has lost what was read, once `found` is set."""

    def __init__(self, replica: str, logs: MemoryLogs) -> None:
        super().__init__(replica, logs, lease=LEASE)
        self.found = asyncio.Event()

    async def follow(self, key: GenerationKey, after: int) -> AsyncGenerator[Sequence[Record], None]:
        state = await self.describe(key)
        while state is not None and after < state.last:
            yield (records := await self.read(key, after, 1 << 20))
            after = records[-1].sequence
        await self.found.wait()
        raise LogDiverged("the store lost events that you have received")


async def test_a_reader_of_a_log_that_diverged_may_resume(
    engine: ScriptedEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checksum then says whether what it has is lost. For the log, that is no failure of the server."""
    logs, model = MemoryLogs(), upstream(engine.base_url, dialect="vllm")
    async with (
        serving(model, sink=MemoryEventSink("a", logs, lease=LEASE)) as owner,
        serving(model, sink=(sink := DivergingSink("b", logs))) as other,
    ):
        engine.script(*half(hold := Pause()))
        call = owner.stream("g", recovery=DETACH)
        await hold.reached.wait()
        resumed = other.resume("g", 0)
        await read_until(resumed, lambda message: message.tokens)
        sink.found.set()
        outcome = await collect(resumed)
        assert outcome.failure is not None
        assert (outcome.code, outcome.failure.retry_advice) == (
            grpc.StatusCode.UNAVAILABLE,
            generation_pb2.RETRY_ADVICE_RESUME,
        )
        hold.release()
        await collect(call)
    assert "cannot be followed" not in capsys.readouterr().out
