"""Health, reflection and drain, as Kubernetes and grpcurl see them."""

from __future__ import annotations

import asyncio
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tokenstreaming.v1 import generation_pb2

from tests.generations.test_rules import whole
from tests.support.harness import Served, collect, read_until, serving, until, upstream
from tests.support.http2_peer import http2_peer
from tests.support.scripted_engine import Pause, ScriptedEngine, Stall, Text
from tokengrpc.config import Settings, model_settings
from tokengrpc.server import Server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "tokenstreaming.v1.TokenStream"


async def health(channel: grpc.aio.Channel) -> dict[str, int]:
    stub = health_pb2_grpc.HealthStub(channel)
    names = ("", "liveness", "readiness", SERVICE)
    return {name: (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status for name in names}


async def test_all_names_serve(server: Served) -> None:
    """The whole server, liveness, readiness and the service. Another name is unknown."""
    assert set((await health(server.channel)).values()) == {SERVING}
    stub = health_pb2_grpc.HealthStub(server.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_not_serving_until_the_models_are_loaded(monkeypatch) -> None:
    """The port answers while an engine loads. Generations are refused with the advice to retry."""
    from tokengrpc.engines.builtin.engine import BuiltinEngine  # noqa: PLC0415

    loading, go = asyncio.Event(), asyncio.Event()
    start = BuiltinEngine.start

    async def slow(self):
        loading.set()
        await go.wait()
        await start(self)

    monkeypatch.setattr(BuiltinEngine, "start", slow)
    app = Server(Settings(listen="127.0.0.1:0", models=(model_settings(name="builtin"),)))
    starting = asyncio.ensure_future(app.start())
    await loading.wait()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
        from tokenstreaming.v1 import token_stream_pb2_grpc  # noqa: PLC0415

        served = Served(app, channel, token_stream_pb2_grpc.TokenStreamStub(channel))
        before = await health(channel)
        assert before.pop("liveness") == SERVING
        assert set(before.values()) == {NOT_SERVING}
        refused = await collect(served.stream())
        assert refused.info.reason == "OVERLOADED"
        go.set()
        await starting
        assert set((await health(channel)).values()) == {SERVING}
        assert (await collect(served.stream())).finished
    await app.stop()


async def test_a_drain_lets_streams_finish_and_refuses_new_ones(engine: ScriptedEngine) -> None:
    """NOT_SERVING at once, a notice to readers, resume still works, and the running stream succeeds."""
    async with serving(upstream(engine.base_url)) as server:
        pause = Pause()
        engine.script(Text("One"), pause, *whole(" two"))
        call = server.stream("g")
        await read_until(call, lambda m: m.tokens)
        draining = asyncio.ensure_future(server.server.drain(60))
        (notice,) = await read_until(call, lambda m: m.HasField("drain_notice"))
        assert notice.drain_notice.deadline_time.seconds > 0
        states = await health(server.channel)
        assert states.pop("liveness") == SERVING
        assert set(states.values()) == {NOT_SERVING}
        refused = await collect(server.stream())
        assert (refused.code, refused.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert refused.failure.retry_advice == generation_pb2.RETRY_ADVICE_RETRY
        second = asyncio.ensure_future(collect(server.resume("g")))
        await until(lambda: len(server.tasks[0].subscribers) == 2)
        pause.release()
        first = await collect(call)
        assert first.text == " two"
        assert first.code is grpc.StatusCode.OK
        assert (await second).text == "One two"
        await draining


async def test_a_drain_ends_streams_after_the_drain_time(engine: ScriptedEngine) -> None:
    """`finished` with DRAINING and the advice RETRY, and no engine connection is left."""
    async with serving(upstream(engine.base_url)) as server:
        engine.script(Text("One"), Stall())
        call = server.stream("g")
        await read_until(call, lambda m: m.tokens)
        await server.server.drain(0.05)
        outcome = await collect(call)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert outcome.failure.ended
        assert outcome.failure.retry_advice == generation_pb2.RETRY_ADVICE_RETRY
        assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_ERROR
        await (await engine.called()).disconnected.wait()


async def test_a_drain_ends_all_queued_requests(engine: ScriptedEngine) -> None:
    """The running generation and all queued ones get the same error, and the slot is free."""
    async with serving(upstream(engine.base_url, max_connections=1)) as server:
        pool = server.server.catalog.resolve("").pool
        engine.script(Text("One"), Stall())
        calls = [server.stream()]
        await read_until(calls[0], lambda m: m.tokens)
        calls += [server.stream() for _ in range(sys.getrecursionlimit() // 2)]
        await until(lambda: pool.waiting == len(calls) - 1, "all are in line")
        await server.server.drain(0.05)
        outcomes = await asyncio.gather(*map(collect, calls))
        assert {outcome.info.reason for outcome in outcomes} == {"DRAINING"}
        assert (pool.waiting, pool.engines[0].running, server.registry.active) == (0, 0, 0)
        assert len(engine.calls) == 1


async def test_an_open_health_watch_does_not_delay_the_drain(engine: ScriptedEngine) -> None:
    """The watcher is notified, and the server stops without waiting for it."""
    async with serving(upstream(engine.base_url)) as server:
        watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        await server.server.drain(5)
        assert (await watch.read()).status == NOT_SERVING
        await server.server.health.ready()
        states = await health(server.channel)
        assert states[""] == NOT_SERVING, "once draining, never back"


async def test_a_watch_that_is_not_read_does_not_delay_the_drain() -> None:
    """Its peer has no room for any message. Other watchers are notified nevertheless."""
    async with serving() as server, http2_peer(server.target) as peer:
        await peer.greet_without_room()
        await peer.call("/grpc.health.v1.Health/Watch")
        await peer.send(bytes(5), end=True)
        await peer.begun()
        answering = asyncio.create_task(peer.closed())  # pings, so that keepalive does not end it
        watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(service=""))
        async with asyncio.timeout(20):
            assert (await watch.read()).status == SERVING
            await server.server.drain(5)
            assert (await watch.read()).status == NOT_SERVING
        answering.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_describes_everything(server: Served, version: str) -> None:
    """Both versions list the services, and return the files of the contract and of error details."""
    method = server.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    ask = reflection_pb2.ServerReflectionRequest
    symbols = (
        SERVICE,
        "tokenstreaming.v1.StreamTokensRequest",
        "google.rpc.ErrorInfo",
        "tokenstreaming.v1.GenerationFailure",
        "google.protobuf.Duration",
    )
    call = method(iter([ask(list_services=""), *(ask(file_containing_symbol=symbol) for symbol in symbols)]))
    answers = [answer async for answer in call]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= names
    for symbol, answer in zip(symbols, answers[1:], strict=True):
        assert answer.file_descriptor_response.file_descriptor_proto, symbol


async def test_clients_that_ping_every_ten_seconds_are_tolerated() -> None:
    """The server's minimum ping interval is below that of Go clients. It pings idle connections itself."""
    from tokengrpc.config import LimitSettings  # noqa: PLC0415
    from tokengrpc.rpc.options import server_options  # noqa: PLC0415

    options = dict(server_options(LimitSettings()))
    assert options["grpc.http2.min_ping_interval_without_data_ms"] < 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1


async def test_a_port_in_use_is_a_clear_error() -> None:
    """One line that names the setting, instead of two servers on one port."""
    from tokengrpc.config import ConfigError  # noqa: PLC0415

    async with serving() as server:
        other = Server(Settings(listen=server.target))
        with pytest.raises(ConfigError, match="listen"):
            await other.start()
