"""Every language's client over two replicas: the one that it reads vanishes, or turns it away."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import input_pb2

from tests.interop.cases.failing import REST, said, started
from tests.interop.crafted_server import CraftedServer, Reply, failure
from tests.interop.drivers import DRIVERS, ready, run
from tests.support.harness import read_until, serving, until, upstream
from tests.support.redis_sinks import made
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text
from tests.support.tcp_proxy import TcpProxy
from tests.support.toolchains import BUILD_TIMEOUT

if TYPE_CHECKING:
    from tests.interop.drivers import Driver
    from tests.support.redis_servers import RedisServer

DETACH = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)


@pytest.mark.timeout(BUILD_TIMEOUT + 120)
@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.language)
async def test_a_stream_goes_on_at_another_replica(driver: Driver, redis_fsynced_server: RedisServer) -> None:
    """One target names both replicas. The one that runs the generation can only be reached later."""
    await asyncio.to_thread(ready, driver)
    async with AsyncExitStack() as leaving:

        async def enter(context: Any) -> Any:
            return await leaving.enter_async_context(context)

        engine = await enter(ScriptedEngine())
        stores = [made(redis_fsynced_server.url, durability="fsynced") for _ in range(2)]
        owner, reader = [await enter(serving(upstream(engine.base_url), sink=store)) for store in stores]
        to_owner, to_reader = [await enter(TcpProxy(served.server.port)) for served in (owner, reader)]
        to_owner.vanish()
        engine.script(Text("One"), hold := Pause(), Text(" two"), Finish(), Done())
        call = owner.stream("g", recovery=DETACH)
        await read_until(call, lambda message: message.tokens)
        target = f"ipv4:{to_reader.target},{to_owner.target}"
        request = {"target": target, "call": "resume", "cursor": "tg1.0...g"}
        report = asyncio.create_task(run(driver, request))
        await until(lambda: to_reader.delivered(b"One"), "the client has read at the other replica", 60.0)
        await to_owner.listen()
        to_reader.vanish()
        hold.release()
        told = await report
        call.cancel()
    redis_fsynced_server.call("FLUSHALL")
    assert (told["error"], told["text"], told["finish_reason"]) == (None, "One two", "END")
    assert told["indexes_gapless"]
    assert told["resumes"] >= 1


@pytest.mark.timeout(BUILD_TIMEOUT + 120)
@pytest.mark.parametrize("reason", ["OVERLOADED", "DRAINING"])
@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.language)
async def test_another_replica_is_tried_at_once(driver: Driver, reason: str) -> None:
    """A replica asks for a delay beyond the client's patience; the other one has the rest.

    The client is connected to both by then: the first call ends too early, once it is.
    """
    await asyncio.to_thread(ready, driver)
    connected = asyncio.Event()
    rejection = failure(grpc.StatusCode.UNAVAILABLE, reason, gen.RETRY_ADVICE_RETRY, retry_delay=20.0)
    replies = [Reply((started(), said(2, 0, "One")), hold=connected), Reply(status=rejection), REST]
    async with AsyncExitStack() as leaving:

        async def enter(context: Any) -> Any:
            return await leaving.enter_async_context(context)

        replicas = [await enter(CraftedServer(replies)) for _ in range(2)]
        proxies = [await enter(TcpProxy(replica.port)) for replica in replicas]
        target = f"ipv4:{','.join(proxy.target for proxy in proxies)}"
        report = asyncio.create_task(run(driver, {"target": target, "patience_seconds": 10}))

        def is_connected() -> bool:
            return all(proxy.open_count and proxy.delivered(b"") for proxy in proxies)

        await until(lambda: any(replica.calls for replica in replicas) and is_connected(), "connected", 60.0)
        connected.set()
        told = await report
    assert (told["error"], told["text"]) == (None, "One two")
    assert sorted(len(replica.calls) for replica in replicas) == [1, 2]
