"""The wait queue of a server: bounds, positions that heartbeats tell, ceilings of tenants, and metrics."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from tokenstreaming.v1 import generation_pb2, input_pb2

from tests.support.harness import collect, read_until, serving, until, upstream
from tests.support.scripted_engine import Done, Drop, Finish, Pause, ScriptedEngine, Text, UsageChunk
from tests.support.several_engines import two_engines
from tokengrpc.config import TenantSettings

ANSWER = (Text("Well"), Finish(), UsageChunk(), Done())
INTERACTIVE, BATCH = input_pb2.PRIORITY_INTERACTIVE, input_pb2.PRIORITY_BATCH


class OneSlot:
    """A server whose engine has a single slot, which `busy` takes until it is released."""

    def __init__(self, server, engine: ScriptedEngine) -> None:
        self.server = server
        self.engine = engine
        self.pause = Pause()
        self.pool = server.server.catalog.resolve("").pool

    async def busy(self) -> None:
        self.engine.script(Text("busy"), self.pause, *ANSWER)
        await read_until(self.server.stream("busy"), lambda message: message.tokens)
        self.engine.script(*ANSWER)

    async def waiting(self, prompt: str, **fields) -> asyncio.Future:
        """Starts a generation, which then waits. Returns what will be its outcome."""
        before = self.pool.waiting
        outcome = asyncio.ensure_future(collect(self.server.stream(prompt=prompt, **fields)))
        await until(lambda: self.pool.waiting == before + 1)
        return outcome

    def order(self) -> list[str]:
        """The prompts of the engine's calls but for the first, in their order."""
        return [call.body["messages"][-1]["content"] for call in self.engine.calls[1:]]


def delay(outcome) -> float:
    """Returns the delay of an error, in seconds."""
    return outcome.detail(error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds()


def one_slot(engine: ScriptedEngine, limits=None, **model):
    return serving(upstream(engine.base_url, max_connections=1, **model), limits=limits or {})


@pytest.mark.parametrize("of", ["server", "model"])
async def test_a_full_queue_rejects_at_once(engine: ScriptedEngine, of: str) -> None:
    """With OVERLOADED, its cause and a delay. Those that wait are served; one that leaves makes room."""
    limits, model = ({"max_queue_length": 2}, {}) if of == "server" else ({}, {"max_queue_length": 2})
    async with one_slot(engine, limits, **model) as server:
        one = OneSlot(server, engine)
        await one.busy()
        waiting = [await one.waiting("first"), await one.waiting("second")]
        rejected = await collect(server.stream("third"))
        assert (rejected.code, rejected.info.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
        assert rejected.info.metadata["cause"] == "queue_length"
        assert 0 < delay(rejected) <= 30
        assert server.registry.active == 3
        waiting[0].cancel()
        await until(lambda: one.pool.waiting == 1)
        waiting.append(await one.waiting("fourth"))
        one.pause.release()
        assert [(await outcome).text for outcome in waiting[1:]] == ["Well", "Well"]
        assert one.order() == ["second", "fourth"]
        assert server.server.status.rejections["queue_length"] == 1


@pytest.mark.parametrize("of", ["server", "model"])
async def test_a_wait_that_takes_too_long_is_overloaded(engine: ScriptedEngine, of: str) -> None:
    """The queue's own limit, before any timeout for a token."""
    limits, model = ({"max_queue_time": 0.05}, {}) if of == "server" else ({}, {"max_queue_time": 0.05})
    async with one_slot(engine, limits, **model) as server:
        one = OneSlot(server, engine)
        await one.busy()
        outcome = await collect(server.stream())
        assert (outcome.info.reason, outcome.info.metadata["cause"]) == ("OVERLOADED", "queue_time")
        assert delay(outcome) > 0
        assert (one.pool.waiting, len(engine.calls)) == (0, 1)
        one.pause.release()


async def test_a_higher_class_takes_a_place_in_a_full_queue(engine: ScriptedEngine) -> None:
    """The newest request of the lowest class ends with OVERLOADED; the others keep their places."""
    async with one_slot(engine, {"max_queue_length": 2}) as server:
        one = OneSlot(server, engine)
        await one.busy()
        old, new = await one.waiting("old", priority=BATCH), await one.waiting("new", priority=BATCH)
        urgent = asyncio.ensure_future(collect(server.stream(prompt="urgent", priority=INTERACTIVE)))
        assert (await new).info.metadata["cause"] == "queue_length"
        one.pause.release()
        assert [(await outcome).text for outcome in (urgent, old)] == ["Well", "Well"]
        assert one.order() == ["urgent", "old"]


async def test_heartbeats_tell_the_position(engine: ScriptedEngine) -> None:
    """It falls as others are served or leave; once the request runs, it is 0."""
    limits = {"queue_heartbeat_interval": 0.02, "heartbeat_interval": 0.05}
    async with one_slot(engine, limits) as server:
        one = OneSlot(server, engine)
        await one.busy()
        before = [await one.waiting("one"), await one.waiting("two")]
        call = server.stream("g", prompt="three")

        async def told(position: int, state=generation_pb2.GENERATION_STATE_QUEUED) -> None:
            def is_told(message) -> bool:
                beat = message.heartbeat
                here = message.HasField("heartbeat") and beat.queue_position == position
                return here and beat.state == state

            await read_until(call, is_told)

        await told(3)
        urgent = await one.waiting("urgent", priority=INTERACTIVE)
        await told(4)
        before[0].cancel()
        await told(3)
        urgent.cancel()
        await told(2)
        pause = Pause()
        engine.script(Text("Well"), pause, *ANSWER)
        one.pause.release()
        await told(1)
        before[1].cancel()
        await told(0, generation_pb2.GENERATION_STATE_GENERATING)
        pause.release()
        await collect(call)


async def test_a_tenants_ceiling_lowers_the_priority(engine: ScriptedEngine, monkeypatch) -> None:
    """In the queue and in the usage record."""
    monkeypatch.setenv("KEY_LOW", "low")
    monkeypatch.setenv("KEY_FREE", "free")
    tenants = (
        TenantSettings(name="low", key_env="KEY_LOW", priority_ceiling="batch"),
        TenantSettings(name="free", key_env="KEY_FREE"),
    )
    low, free = ({"metadata": (("authorization", f"Bearer {key}"),)} for key in ("low", "free"))
    async with serving(upstream(engine.base_url, max_connections=1), tenants=tenants) as server:
        one = OneSlot(server, engine)
        engine.script(Text("busy"), one.pause, *ANSWER)
        await read_until(server.stream("busy", **free), lambda message: message.tokens)
        engine.script(*ANSWER)
        wanted = await one.waiting("wanted", priority=INTERACTIVE, **low)
        usual = await one.waiting("usual", **free)
        assert one.pool.waiting_by_priority == {1: 0, 2: 1, 3: 1}
        one.pause.release()
        await asyncio.gather(wanted, usual)
        assert one.order() == ["usual", "wanted"]
        (record,) = [each for each in server.ledger.records.values() if each.tenant == "low"]
        assert record.priority == BATCH


async def test_an_equal_request_with_another_priority_attaches(engine: ScriptedEngine) -> None:
    """The priority does not change the output."""
    async with one_slot(engine) as server:
        engine.script(*ANSWER)
        first = await collect(server.stream("g", priority=BATCH))
        again = await collect(server.stream("g", priority=INTERACTIVE))
        assert (first.text, again.text, len(engine.calls)) == ("Well", "Well", 1)


async def test_a_lost_engine_keeps_the_requests_rank() -> None:
    """A request whose engine failed waits for the other one before those that came later."""
    async with two_engines(of_a={"max_connections": 1}, of_b={"max_connections": 1}) as two:
        lose, free = Pause(), Pause()
        two.a.script(lose, Drop())
        two.b.script(Text("busy"), free, *ANSWER)
        lost = asyncio.ensure_future(collect(two.server.stream(prompt="lost")))
        await two.a.called()
        busy = two.server.stream(prompt="busy")
        await read_until(busy, lambda message: message.tokens)
        two.b.script(*ANSWER)
        pool, hold = two.pool, Pause()
        later = [asyncio.ensure_future(collect(two.server.stream(prompt=f"later {n}"))) for n in range(2)]
        await until(lambda: pool.waiting == 2)
        two.a.script(Text("held"), hold, *ANSWER)
        lose.release()
        await until(lambda: len(two.a.calls) == 2)
        assert pool.waiting == 2  # the lost one, and one of the later ones: the other runs on engine a
        free.release()
        assert (await lost).text == "Well"
        prompts = [call.body["messages"][-1]["content"] for call in two.b.calls]
        assert prompts[:2] == ["busy", "lost"]
        hold.release()
        await asyncio.gather(*later)
