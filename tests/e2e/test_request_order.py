"""What is cheap comes first: a call is refused before its request has arrived, or before it is looked at."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tokenstreaming.v1 import token_stream_pb2 as pb

from attack.http2 import SERVICE
from tests.support.harness import BUILTIN, collect, failing, serving, upstream
from tests.support.http2_peer import http2_peer
from tests.support.raw_protobuf import DEAR, field
from tests.support.scripted_engine import Pause, ScriptedEngine, Text
from tokengrpc.config import TenantSettings, model_settings

if TYPE_CHECKING:
    import grpc

# Large, and wrong wherever one looks.
WRONG = DEAR["empty parts"].body

MODELS = (BUILTIN, model_settings(name="other"))


def raw_call(channel: grpc.aio.Channel, method: str, data: bytes, **more):
    """A call whose request is given as bytes."""
    return channel.unary_stream(SERVICE + method)(data, **more)


async def reason(call) -> str:
    """The reason with which a call was refused."""
    outcome = await collect(call)
    return outcome.info.reason


@pytest.fixture
def tenants(monkeypatch):
    """One tenant, which may not use the default model."""
    monkeypatch.setenv("KEY", "key")
    return (TenantSettings(name="t", key_env="KEY", models=("other",)),)


async def test_a_caller_without_a_key_need_not_send_its_request(tenants):
    """UNAUTHENTICATED comes at once, long before the time for the request has passed."""
    async with serving(*MODELS, tenants=tenants) as server, http2_peer(server.target) as peer:
        await peer.greet()
        await peer.call(SERVICE + "StreamTokens")
        async with asyncio.timeout(20):
            assert b"grpc-status\x0216" in await peer.answer()


async def test_a_large_request_is_not_read_for_a_wrong_model(tenants):
    """Nor for one that the tenant may not use. Otherwise its fields would be the first mistake."""
    key = (("authorization", "Bearer key"),)
    async with serving(*MODELS, tenants=tenants) as server:
        for method, wrap in (("StreamTokens", False), ("CountTokens", True)):
            for model, wanted in ((b"nobody", "MODEL_NOT_FOUND"), (b"", "MODEL_NOT_ALLOWED")):
                body = WRONG + field(2, model)
                data = field(1, body) if wrap else body
                assert await reason(raw_call(server.channel, method, data, metadata=key)) == wanted


async def test_a_full_server_reads_no_large_request():
    """OVERLOADED. The same request is read where it may attach, because its id is in use."""
    async with (
        ScriptedEngine() as engine,
        serving(upstream(engine.base_url), limits={"max_generations": 1}) as server,
    ):
        engine.script(Text("a"), Pause())
        prompt = "p" * 100_000
        running = server.stream("running", prompt=prompt)
        await running.read()
        assert await reason(raw_call(server.channel, "StreamTokens", WRONG)) == "OVERLOADED"
        attached = server.stream("running", prompt=prompt)
        assert (await attached.read()).HasField("attached")
        other = field(1, b"running") + WRONG
        assert await reason(raw_call(server.channel, "StreamTokens", other)) == "INVALID_REQUEST"
        refused = await failing(server.stub.CancelGeneration(pb.CancelGenerationRequest(generation_id="?")))
        assert refused.info.reason == "INVALID_REQUEST"
