"""Health checks of engines without traffic."""

from __future__ import annotations

import socket

import pytest
from aiohttp import web
from tokenstreaming.v1 import model_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import collect, serving, until
from tests.support.several_engines import two_engines
from tokengrpc.config import engine_settings, model_settings
from tokengrpc.core.catalog import Catalog, ServedModel
from tokengrpc.core.clock import SystemClock
from tokengrpc.core.pooled_engine import PooledEngine
from tokengrpc.core.ports.engine import Checkable
from tokengrpc.core.routing import EnginePool
from tokengrpc.engines.openai.engine import OpenAIEngine, create
from tokengrpc.errors import EngineBusy, EngineUnavailable
from tokengrpc.generations.health_checks import HealthChecks
from tokengrpc.tokenizers.tiktoken import load

OFTEN = {"health_check_interval": 0.02}


async def answering(status: int, port: int = 0) -> tuple[web.AppRunner, int]:
    """Starts a server that answers every GET with this status."""
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text="{}")

    app.router.add_get("/v1/models", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, runner.addresses[0][1]


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, None), (401, None), (404, None), (429, None), (500, EngineUnavailable), (529, EngineBusy)],
)
async def test_any_response_below_500_passes_the_check(status, error):
    """A server may have no list of models."""
    runner, port = await answering(status)
    engine = create(engine_settings(name="a", kind="openai", base_url=f"http://127.0.0.1:{port}/v1"), None)
    await engine.start()
    try:
        if error is None:
            await engine.check()
        else:
            with pytest.raises(error):
                await engine.check()
    finally:
        await engine.close()
        await runner.cleanup()


async def test_checks_find_an_unreachable_engine_before_a_request():
    """ListModels reports it, and it receives no request. When it responds again, it receives a trial."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with two_engines(of_a={"base_url": f"http://127.0.0.1:{port}/v1", **OFTEN}) as two:
            a = two.engines["a"]
            await until(lambda: not a.breaker.closed, "the checks open the breaker")
            models = await two.server.stub.ListModels(pb.ListModelsRequest())
            assert models.models[0].engines[0].health == model_pb2.ENGINE_HEALTH_UNHEALTHY
            assert (await collect(two.server.stream())).text == "Well said"
            assert two.ended.records[-1].engines == ("b",)
            taken.close()
            back, _ = await answering(200, port)
            await until(lambda: a.healthy, "the checks find it again")
            assert not a.breaker.closed
            # The server has no generations to offer, but the next request is its trial.
            assert (await collect(two.server.stream())).text == "Well said"
            assert two.ended.records[-1].engines == ("a", "b")
            assert not a.breaker.closed
            await back.cleanup()


async def test_an_engine_with_faults_is_checked():
    """Injected faults do not hide that the engine behind them is unreachable."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with two_engines(of_a={"base_url": url, "faults": {"pace": 1000}, **OFTEN}) as two:
            await until(lambda: not two.engines["a"].breaker.closed, "the checks open the breaker")
            assert two.engines["a"].healthy is False


@pytest.mark.parametrize("kind", ["builtin", "openai"])
async def test_faults_do_not_change_whether_checks_exist(kind):
    """An engine without checks has none with faults either: they would always succeed."""
    settings = {"base_url": "http://127.0.0.1:9/v1"} if kind == "openai" else {}
    plain, faulty = (
        engine_settings(name=name, kind=kind, faults=faults, health_check_interval=0.0, **settings)
        for name, faults in (("plain", {}), ("faulty", {"pace": 1000}))
    )
    async with serving(model_settings(name="m", engines=(plain, faulty))) as served:
        assert served.server.catalog is not None
        first, second = (
            isinstance(engine, Checkable) for engine in served.server.catalog.resolve("").engines
        )
        assert first is second is (kind == "openai")


@pytest.mark.parametrize("dialect", ["llamacpp-python", "transformers"])
async def test_servers_that_a_check_would_disturb(dialect: str):
    """They get no request, and nothing is concluded."""
    requests = []

    async def note(request: web.Request) -> web.Response:
        requests.append(request.path)
        return web.Response(status=500)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", note)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    checked = []

    class Noted(OpenAIEngine):
        async def check(self) -> bool:
            result = await super().check()
            checked.append(result)
            return result

    engine = Noted(engine_settings(name="a", kind="openai", base_url=url, dialect=dialect))
    pooled = PooledEngine(engine, check_interval=0.01)
    checks = HealthChecks(SystemClock(), jitter=lambda: 0.0)
    model = ServedModel(name="m", pool=EnginePool([pooled]), tokenizer=load("o200k_base", exact=True))
    await engine.start()
    try:
        checks.start(Catalog([model]))
        await until(lambda: len(checked) > 2)
    finally:
        await checks.stop()
        await engine.close()
        await runner.cleanup()
    assert (set(checked), requests, pooled.healthy) == ({False}, [], None)
