"""A server process with an event store that gets SIGTERM: it withdraws, drains, hands over and exits."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.generations.test_hand_over import check_resumable
from tests.support.commands import serving
from tests.support.harness import collect, read_until
from tests.support.http2_peer import http2_peer
from tests.support.plugins import install
from tests.support.redis_servers import FSYNCED, Machines
from tokengrpc.client.stubs import aio_stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.commands import Server
    from tests.support.redis_servers import RedisServer

# An engine that streams without end and whose call never ends, as if a driver swallowed cancellations.
ENGINE = """
import asyncio
from tokengrpc.core.model import Capability, Delta

class Deaf:
    name = kind = "deaf"
    capabilities = frozenset(Capability)
    healthy = True

    async def start(self):
        pass

    async def close(self):
        await asyncio.Event().wait()

    async def generate(self, request, continue_from=None):
        try:
            yield ()
            while True:
                yield (Delta(text=" word", count=1),)
                await asyncio.sleep(0.01)
        finally:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass

def create(settings, *arguments):
    return Deaf()
"""


class Caller:
    """A connection to a server process."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = aio_stub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    async def begun(self, generation_id: str) -> Any:
        """Returns a call whose first token has come."""
        call = self.stub.StreamTokens(pb.StreamTokensRequest(generation_id=generation_id, prompt="p"))
        await read_until(call, lambda message: message.tokens)
        return call

    async def watch(self) -> Any:
        """Returns a watch of the server's health, which is SERVING."""
        watch = self.health.Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        return watch


@asynccontextmanager
async def called(server: Server) -> AsyncIterator[Caller]:
    """Connects to a server process."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        yield Caller(channel)


def limits(**values: float) -> dict[str, str]:
    return {f"TOKENGRPC_LIMITS_{name.upper()}": str(value) for name, value in values.items()}


def settings(folder: Path, url: str) -> str:
    file = folder / "tokengrpc.toml"
    file.write_text(f'store = "{url}"\n[plugins.redis]\ndurability = "fsynced"\n')
    return str(file)


async def test_calls_are_accepted_during_the_withdrawal(
    redis_fsynced_server: RedisServer, tmp_path: Path
) -> None:
    """Health says NOT_SERVING meanwhile, and readers are not told yet. A second signal hands over at once."""
    file = settings(tmp_path, redis_fsynced_server.url)
    with serving("--config", file, "--pace", "50", **limits(withdrawal_time=600)) as server:
        async with called(server) as caller:
            watch, early = await caller.watch(), await caller.begun("early")
            server.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            late = await caller.begun("late")
            server.process.send_signal(signal.SIGTERM)
            for call in (early, late):
                outcome = await collect(call)
                check_resumable(outcome)
                assert not any(message.HasField("drain_notice") for message in outcome.messages)
        assert server.process.wait(60) == 0


async def test_calls_are_refused_after_the_withdrawal(
    redis_fsynced_server: RedisServer, tmp_path: Path
) -> None:
    """Readers are told then, and what is left after the drain time is handed over."""
    file = settings(tmp_path, redis_fsynced_server.url)
    times = limits(withdrawal_time=0.1, drain_time=1)
    with serving("--config", file, "--pace", "50", **times) as server:
        async with called(server) as caller:
            call = await caller.begun("g")
            server.process.send_signal(signal.SIGTERM)
            await read_until(call, lambda message: message.HasField("drain_notice"))
            refused = await collect(caller.stub.StreamTokens(pb.StreamTokensRequest(prompt="p")))
            assert refused.info.reason == "DRAINING"
            check_resumable(await collect(call))
        assert server.process.wait(60) == 0


async def test_nothing_that_hangs_holds_up_the_exit(tmp_path: Path) -> None:
    """A store that is frozen, an engine that does not react, a health watch, a caller that does not read."""
    plugins = install(tmp_path, {"deaf.py": ENGINE}, {"tokengrpc.engines": {"deaf": "deaf:create"}})
    times = limits(withdrawal_time=0.1, drain_time=0.1, store_timeout=0.3)
    with Machines() as machines:
        store = machines.single(FSYNCED)
        file = settings(tmp_path, store.url)
        arguments = ("--config", file, "--engine", "deaf", "--model", "m")
        with serving(*arguments, PYTHONPATH=str(plugins), **times) as server:
            async with called(server) as caller, http2_peer(server.target) as peer:
                await caller.watch()
                await peer.greet_without_room()
                await peer.call("/tokenstreaming.v1.TokenStream/StreamTokens")
                request = pb.StreamTokensRequest(prompt="p").SerializeToString()
                await peer.send(b"\0" + len(request).to_bytes(4, "big") + request, end=True)
                await peer.begun()
                answering = asyncio.create_task(peer.closed())
                call = await caller.begun("g")
                store.send(signal.SIGSTOP)
                server.process.send_signal(signal.SIGTERM)
                check_resumable(await collect(call))
                assert await asyncio.to_thread(server.process.wait, 60) == 0
                answering.cancel()
