"""What callers get while the event store is away, and what is in it afterwards: strict and degrade."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2
from tokenstreaming.v1 import generation_pb2

from tests.support.harness import check_gapless, collect, read_until, serving, until, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text, UsageChunk
from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.log import TakeoverStatus
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.memory import MemoryEventSink

if TYPE_CHECKING:
    from collections.abc import Callable

END = (Finish(), UsageChunk(7, 3), Done())
HANGING, REFUSING = "hanging", "refusing"


class Outages(MemoryEventSink):
    """A replica that `away` cuts off from its store: calls hang, or are refused at once."""

    away = ""
    calls = 0

    async def _suffer(self) -> None:
        if self.away:
            self.calls += 1
        if self.away == HANGING:
            await asyncio.Event().wait()
        if self.away:
            raise StoreUnavailable("connection refused")

    async def check(self):
        await self._suffer()

    async def append(self, key, epoch, records):
        await self._suffer()
        return await super().append(key, epoch, records)

    async def claim(self, key, fingerprint, request, incarnation):
        await self._suffer()
        return await super().claim(key, fingerprint, request, incarnation)

    async def describe(self, key):
        await self._suffer()
        return await super().describe(key)

    async def renew(self, epochs):
        await self._suffer()
        return await super().renew(epochs)

    async def count_subscribers(self, counts):
        await self._suffer()
        return await super().count_subscribers(counts)


def ended(sink: MemoryEventSink, name: str) -> Callable[[], bool]:
    """Returns whether the log of a generation has its end."""
    key = GenerationKey("default", name)
    return lambda: (log := sink.store.find(key)) is not None and log.ended


def logged(sink: MemoryEventSink, name: str) -> list[int]:
    return [record.sequence for record in sink.log_of(GenerationKey("default", name)).records]


@pytest.mark.parametrize("how", [HANGING, REFUSING])
async def test_a_strict_server_refuses_new_generations(engine: ScriptedEngine, how: str) -> None:
    """At once, without a call of the store each. A stream pauses meanwhile, and loses nothing."""
    sink, limits = Outages(), {"store_timeout": 1.0, "store_retry_time": 60.0}
    async with serving(upstream(engine.base_url), sink=sink, limits=limits) as server:
        engine.script(Text("One"), hold := Pause(), Text(" two"), *END)
        call = server.stream("g")
        first = await read_until(call, lambda message: message.tokens)
        sink.away = how
        hold.release()
        watch = server.server.store_watch
        assert watch is not None
        await until(lambda: not watch.available, "it is known that the store is away")
        calls, count = sink.calls, 20
        for outcome in [await collect(server.stream(f"new{n}")) for n in range(count)]:
            assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert outcome.detail(error_details_pb2.RetryInfo)
        assert sink.calls - calls < count / 2
        sink.away = ""
        outcome = await collect(call)
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, " two")
        check_gapless([*first, *outcome.messages])
        assert logged(sink, "g") == list(range(1, outcome.messages[-1].sequence + 1))
        assert watch.available
        assert len(engine.calls) == 1


@pytest.mark.parametrize("how", [HANGING, REFUSING])
async def test_a_degraded_server_goes_on_in_memory(engine: ScriptedEngine, how: str) -> None:
    """What runs, and what begins. The store has all of it when it is back."""
    sink, limits = Outages(lease=3600.0), {"store_timeout": 1.0}
    async with serving(upstream(engine.base_url), sink=sink, limits=limits, store_outage="degrade") as server:
        engine.script(Text("One"), hold := Pause(), Text(" two"), last := Pause(), Text(" three"), *END)
        call = server.stream("g")
        first = await read_until(call, lambda message: message.tokens)
        sink.away = how
        hold.release()
        first += await read_until(call, lambda message: message.tokens)
        engine.script(Text("One"), *END)
        new = await collect(server.stream("new"))
        assert (new.code, new.text) == (grpc.StatusCode.OK, "One")
        assert new.messages[0].started.durability == generation_pb2.DURABILITY_MEMORY
        again = await collect(server.resume("new", 1))
        assert (again.code, again.text) == (grpc.StatusCode.OK, "One")
        unknown = await collect(server.resume("elsewhere", 1))
        assert unknown.info.reason == "STORE_UNAVAILABLE"
        watch = server.server.store_watch
        assert watch is not None
        assert watch.memory_only == 2
        sink.away = ""
        await until(lambda: watch.available and not watch.memory_only, "all is in the store")
        last.release()
        outcome = await collect(call)
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, " three")
        check_gapless([*first, *outcome.messages])
        await until(ended(sink, "new"))
        assert logged(sink, "new") == list(range(1, new.messages[-1].sequence + 1))
        await until(ended(sink, "g"))
        assert logged(sink, "g") == list(range(1, outcome.messages[-1].sequence + 1))


async def test_a_degraded_owner_that_was_replaced_stops(engine: ScriptedEngine) -> None:
    """Another server took over while this one could not reach the store: its log counts."""
    sink = Outages("a", lease=3600.0)
    other = MemoryEventSink("b", sink.store)
    limits = {"store_timeout": 1.0}
    async with serving(upstream(engine.base_url), sink=sink, limits=limits, store_outage="degrade") as server:
        engine.script(Text("One"), hold := Pause(), Text(" two"), Pause())
        call = server.stream("g")
        await read_until(call, lambda message: message.tokens)
        key = server.tasks[0].key
        sink.away = REFUSING
        hold.release()
        await read_until(call, lambda message: message.tokens)
        before = list(sink.log_of(key).records)
        await sink.release({key: 1})
        assert (await other.take_over(key, 1)).status is TakeoverStatus.TAKEN
        sink.away = ""
        outcome = await collect(call)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert outcome.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
        assert sink.log_of(key).records == before
        await engine.calls[0].disconnected.wait()


async def test_what_cannot_be_logged_any_more_stays_in_memory(engine: ScriptedEngine) -> None:
    """Its log is deleted, so that no server goes on from it."""
    sink = Outages(lease=3600.0)
    limits, words = {"store_timeout": 1.0, "generation_log_bytes": 2048}, [c * 1500 for c in "abc"]
    async with serving(upstream(engine.base_url), sink=sink, limits=limits, store_outage="degrade") as server:
        pauses = [Pause() for _ in words]
        engine.script(*(step for pair in zip(map(Text, words), pauses, strict=True) for step in pair), *END)
        call = server.stream("g")
        messages = []
        for n, pause in enumerate(pauses):
            messages += await read_until(call, lambda message: message.tokens)
            if n == 0:
                sink.away = REFUSING
            if n == 2:
                sink.away = ""
                await until(lambda: sink.store.find(GenerationKey("default", "g")) is None)
            pause.release()
        outcome = await collect(call)
        assert outcome.code is grpc.StatusCode.OK
        check_gapless([*messages, *outcome.messages])
        assert sink.store.find(GenerationKey("default", "g")) is None


async def test_an_end_during_the_outage_is_logged_later(engine: ScriptedEngine) -> None:
    """With a strict server as well: once the usage is recorded, the end is the end."""
    sink, limits = Outages(lease=3600.0), {"store_timeout": 1.0, "store_retry_time": 1.0}
    async with serving(upstream(engine.base_url), sink=sink, limits=limits) as server:
        finish = server.server.billing.finish

        async def finish_and_cut(record) -> None:
            await finish(record)
            sink.away = REFUSING

        server.server.billing.finish = finish_and_cut  # type: ignore[method-assign]  # the moment between the two
        engine.script(Text("One"), *END)
        outcome = await collect(server.stream("g"))
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, "One")
        assert not ended(sink, "g")()
        sink.away = ""
        await until(ended(sink, "g"))
        assert sink.log_of(GenerationKey("default", "g")).records[-1].kind is RecordKind.FINISHED
