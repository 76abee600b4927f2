"""Real Redis servers that are killed, stopped, cut off, full, replaced or closed to us, under a server."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.harness import check_gapless, collect, read_until, serving, until, upstream
from tests.support.redis_servers import FSYNCED, Machines
from tests.support.redis_sinks import made, started
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text, UsageChunk
from tests.support.tcp_proxy import TcpProxy
from tokengrpc.core.model import GenerationKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.harness import Served
    from tests.support.redis_servers import RedisServer

END = (Finish(), UsageChunk(7, 2), Done())
TIMEOUT = 1.0


class Case:
    """A way to lose the store, and to get it back. `url` is where the server looks for it."""

    def __init__(self, store: RedisServer, proxy: TcpProxy) -> None:
        self.store = store
        self.proxy = proxy
        self.url = f"redis://127.0.0.1:{proxy.port}"


async def kill(case: Case) -> Callable[[], Any]:
    case.store.stop()
    return case.store.start


async def stop(case: Case) -> Callable[[], Any]:
    case.store.send(signal.SIGSTOP)
    return lambda: case.store.send(signal.SIGCONT)


async def cut(case: Case) -> Callable[[], Awaitable[Any]]:
    case.proxy.vanish()
    return case.proxy.listen


async def half_open(case: Case) -> Callable[[], Any]:
    case.proxy.pause()
    return case.proxy.resume


async def fill(case: Case) -> Callable[[], Any]:
    case.store.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    case.store.call("CONFIG", "SET", "maxmemory", "1")
    return lambda: case.store.call("CONFIG", "SET", "maxmemory", "0")


async def make_replica(case: Case) -> Callable[[], Any]:
    """The server takes no writes any more, as after a failover: READONLY."""
    case.store.call("REPLICAOF", "127.0.0.1", "1")
    return lambda: case.store.call("REPLICAOF", "NO", "ONE")


async def change_password(case: Case) -> Callable[[], Any]:
    case.store.call("CONFIG", "SET", "requirepass", "other")
    case.proxy.cut()
    return lambda: case.store.call("CONFIG", "SET", "requirepass", "")


WAYS = [kill, stop, cut, half_open, fill, make_replica, change_password]


@asynccontextmanager
async def served(engine: ScriptedEngine, way: Any, **settings: Any) -> AsyncIterator[tuple[Case, Served]]:
    """Runs a server on a store of its own."""
    with Machines() as machines:
        store = machines.single(FSYNCED)
        async with TcpProxy(store.port) as proxy:
            case = Case(store, proxy)
            sink = made(case.url, timeout=TIMEOUT, durability="fsynced")
            limits = {"store_timeout": TIMEOUT, "store_retry_time": 60.0}
            async with serving(upstream(engine.base_url), sink=sink, limits=limits, **settings) as server:
                yield case, server


async def logged(case: Case, name: str) -> list[int]:
    """The sequences in the log of a generation, from the store itself."""
    async with started(case.store.url, durability="fsynced") as reader, asyncio.timeout(30):
        batches = reader.follow(GenerationKey("default", name), 0)
        return [record.sequence async for batch in batches for record in batch]


@pytest.mark.parametrize("way", WAYS)
async def test_strict_streams_wait_and_new_ones_are_refused(engine: ScriptedEngine, way: Any) -> None:
    """Whatever happens to the store: nothing is lost or doubled, and nothing else waits."""
    async with served(engine, way) as (case, server):
        engine.script(Text("One"), hold := Pause(), Text(" two"), *END)
        call = server.stream("g")
        first = await read_until(call, lambda message: message.tokens)
        await hold.reached.wait()
        mend = await way(case)
        hold.release()
        watch = server.server.store_watch
        assert watch is not None
        await until(lambda: not watch.available, "it is known that the store is away")
        for n in range(10):
            refused = await collect(server.stream(f"new{n}"))
            assert (refused.code, refused.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert "127.0.0.1" not in refused.message
        assert (await server.get("g")).generation_id == "g"
        if (mending := mend()) is not None and asyncio.iscoroutine(mending):
            await mending
        outcome = await collect(call)
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, " two")
        check_gapless([*first, *outcome.messages])
        assert await logged(case, "g") == list(range(1, outcome.messages[-1].sequence + 1))
        await until(lambda: watch.available)
        assert len(engine.calls) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_degraded_streams_go_on(engine: ScriptedEngine, way: Any) -> None:
    """And the store has all of them once it is back, also one that began and ended meanwhile."""
    async with served(engine, way, store_outage="degrade") as (case, server):
        engine.script(Text("One"), hold := Pause(), Text(" two"), *END)
        call = server.stream("g")
        first = await read_until(call, lambda message: message.tokens)
        await hold.reached.wait()
        mend = await way(case)
        hold.release()
        outcome = await collect(call)
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, " two")
        check_gapless([*first, *outcome.messages])
        engine.script(Text("New"), *END)
        new = await collect(server.stream("new"))
        assert (new.code, new.text) == (grpc.StatusCode.OK, "New")
        if (mending := mend()) is not None and asyncio.iscoroutine(mending):
            await mending
        watch = server.server.store_watch
        assert watch is not None
        await until(lambda: watch.available and not watch.memory_only, "all is in the store")
        assert await logged(case, "g") == list(range(1, outcome.messages[-1].sequence + 1))
        assert await logged(case, "new") == list(range(1, new.messages[-1].sequence + 1))


async def test_a_flushed_store_gets_its_logs_again(engine: ScriptedEngine) -> None:
    """From the server that runs them, also while their engines are silent."""
    async with served(engine, None) as (case, server):
        engine.script(Text("One"), hold := Pause(), Text(" two"), *END)
        call = server.stream("g")
        first = await read_until(call, lambda message: message.tokens)
        case.store.call("FLUSHALL")
        await until(lambda: case.store.call("KEYS", "tokengrpc:{*}:*"), "the heartbeat has written it again")
        case.store.call("FLUSHALL")
        hold.release()
        outcome = await collect(call)
        assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, " two")
        check_gapless([*first, *outcome.messages])
        assert await logged(case, "g") == list(range(1, outcome.messages[-1].sequence + 1))


@pytest.mark.parametrize("way", [stop, half_open])
async def test_a_hung_store_does_not_delay_the_exit(engine: ScriptedEngine, way: Any) -> None:
    """Nor the readers' end, which comes with a cursor."""
    async with served(engine, way) as (case, server):
        engine.script(Text("One"), hold := Pause(), Text(" two"), Pause())
        call = server.stream("g")
        await read_until(call, lambda message: message.tokens)
        await hold.reached.wait()
        mend = await way(case)
        hold.release()
        async with asyncio.timeout(20 * TIMEOUT):
            await server.server.stop()
        outcome = await collect(call)
        assert outcome.code is grpc.StatusCode.UNAVAILABLE
        mend()


async def test_a_degraded_server_starts_without_its_store(engine: ScriptedEngine) -> None:
    """And uses it when it comes up."""
    with Machines() as machines:
        store = machines.single(FSYNCED)
        store.stop()
        sink = made(store.url, timeout=TIMEOUT, durability="fsynced")
        limits = {"store_timeout": TIMEOUT}
        async with serving(
            upstream(engine.base_url), sink=sink, limits=limits, store_outage="degrade"
        ) as server:
            engine.script(Text("New"), *END)
            new = await collect(server.stream("new"))
            assert (new.code, new.text) == (grpc.StatusCode.OK, "New")
            store.start()
            watch = server.server.store_watch
            assert watch is not None
            await until(lambda: watch.available and not watch.memory_only, "all is in the store")
            assert store.call("KEYS", "tokengrpc:{*}:*")
