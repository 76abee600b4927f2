"""Health and channelz over gRPC on the admin port, from synchronous clients as well."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tests.support.admin_pages import ADMIN
from tests.support.harness import OPTIONS, Served, collect, serving, until, upstream
from tests.support.http2_peer import http2_peer
from tests.support.script_steps import Text
from tokengrpc.config import ConfigError, Settings
from tokengrpc.rpc.lifecycle import LIVENESS, READY_NAMES
from tokengrpc.server import Server

if TYPE_CHECKING:
    from tests.support.scripted_engine import ScriptedEngine

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = (*READY_NAMES, LIVENESS)


def target(server: Served) -> str:
    return f"127.0.0.1:{server.server.admin.grpc_port}"


async def watched(call: Any) -> int:
    """Returns the next status of a watch."""
    return int((await call.read()).status)


async def test_watches_see_engines_fail_and_the_server_drain(engine: ScriptedEngine):
    """Each name has a status of its own."""
    engine.script(Text("Well"))
    async with (
        serving(upstream(engine.base_url, name="m"), admin_grpc_listen=ADMIN) as server,
        grpc.aio.insecure_channel(target(server), options=OPTIONS) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        model, every, live = (
            stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("model/m", "", LIVENESS)
        )
        assert [await watched(call) for call in (model, every, live)] == [SERVING] * 3
        for _ in range(3):
            await collect(server.stream())
        assert await watched(model) == NOT_SERVING
        assert await watched(every) == NOT_SERVING  # it was the only model
        await server.server.begin_drain(1)
        answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in NAMES]
        assert [answer.status for answer in answers] == [*[NOT_SERVING] * len(READY_NAMES), SERVING]
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(health_pb2.HealthCheckRequest(service="model/none"))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_drain_shows_at_once():
    """A probe that comes right after it is told already."""
    async with (
        serving(admin_grpc_listen=ADMIN) as server,
        grpc.aio.insecure_channel(target(server), options=OPTIONS) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
        await server.server.begin_drain(1)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING


async def test_a_watch_that_is_not_read_blocks_nothing():
    """Its peer has no room for any message. Checks and other watches go on, and so does a drain."""
    async with (
        serving(admin_grpc_listen=ADMIN) as server,
        grpc.aio.insecure_channel(target(server), options=OPTIONS) as channel,
        http2_peer(target(server)) as peer,
    ):
        await peer.greet_without_room()
        await peer.call("/grpc.health.v1.Health/Watch")
        await peer.send(bytes(5), end=True)
        stub = health_pb2_grpc.HealthStub(channel)
        await peer.begun()
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert await watched(watch) == SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)).status == SERVING
        await server.server.begin_drain(1)
        assert await watched(watch) == NOT_SERVING


def thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("kind", ["reflection", "check"])
async def test_silent_calls_do_not_keep_probes_out(kind: str):
    """A call may hold a thread for some seconds only, whether or not its request arrives."""
    path = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"
    async with (
        serving(admin_grpc_listen=ADMIN) as server,
        grpc.aio.insecure_channel(target(server), options=OPTIONS) as channel,
        grpc.aio.insecure_channel(target(server), options=OPTIONS) as other,
    ):
        silent = [
            channel.stream_stream(path if kind == "reflection" else "/grpc.health.v1.Health/Check")()
            for _ in range(20)  # more than there are threads
        ]
        await until(lambda: sum("admin-grpc_" in name for name in thread_names()) >= 4, "calls hold threads")
        probe = health_pb2_grpc.HealthStub(other).Check(
            health_pb2.HealthCheckRequest(), timeout=20, wait_for_ready=True
        )
        assert (await probe).status == SERVING
        for call in silent:
            call.cancel()


async def test_a_frozen_event_loop_is_not_alive_within_ten_seconds():
    """This test's own loop is the server's, and it is blocked while a synchronous client watches."""
    async with serving(admin_grpc_listen=ADMIN) as server:
        frozen_at = time.monotonic()
        with grpc.insecure_channel(target(server), options=OPTIONS) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=LIVENESS), timeout=10
            )
            assert [next(watch).status, next(watch).status] == [SERVING, NOT_SERVING]
            assert time.monotonic() - frozen_at < 10
            watch.cancel()


async def test_channelz_shows_the_calls_of_the_serving_port():
    """It belongs to the whole process."""
    async with serving(admin_grpc_listen=ADMIN) as server:
        for _ in range(7):
            await collect(server.stream(max_output_token_count=3))
        async with grpc.aio.insecure_channel(target(server), options=OPTIONS) as channel:
            stub = channelz_pb2_grpc.ChannelzStub(channel)
            servers = (await stub.GetServers(channelz_pb2.GetServersRequest())).server
        assert [each.data.calls_started for each in servers if each.data.calls_succeeded == 7] == [7]


async def test_a_port_that_is_taken_is_named():
    """In one line, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Server(Settings(listen=ADMIN, admin_grpc_listen=address))
        with pytest.raises(ConfigError, match=f"^admin_grpc_listen: {address} is in use"):
            await server.start()
        await server.stop()
