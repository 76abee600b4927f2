"""A server process that runs out of open files: callers are told to wait, engines are not blamed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import grpc
from google.rpc import error_details_pb2
from tokenstreaming.v1 import model_pb2
from tokenstreaming.v1 import token_stream_pb2 as api
from tokenstreaming.v1 import token_stream_pb2_grpc as stubs

from tests.support.commands import serving
from tests.support.harness import collect, until
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text, UsageChunk

CALLS, FILES = 400, 160
# Admission by capacity would reject most of the calls before they need a file.
OPEN = {"TOKENGRPC_LIMITS_MIN_GENERATIONS": str(CALLS)}
ENGINE = ("--engine", "openai", "--model", "m", "--log-level", "warning")


def warnings(log: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


async def test_400_streams_with_160_files():
    """What can be connected is served whole; the rest is OVERLOADED with a delay; then all is well again."""
    pause = Pause()
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), pause, Text("b"), Finish(), UsageChunk(), Done())
        with serving(*ENGINE, "--base-url", engine.base_url, max_files=FILES, **OPEN) as server:
            async with grpc.aio.insecure_channel(server.target) as channel:
                stub = stubs.TokenStreamStub(channel)
                request = api.StreamTokensRequest(prompt="x")
                calls = [asyncio.ensure_future(collect(stub.StreamTokens(request))) for _ in range(CALLS)]
                await until(
                    lambda: len(engine.calls) + sum(call.done() for call in calls) >= CALLS, "all decided"
                )
                pause.release()
                outcomes = await asyncio.gather(*calls)
                models = await stub.ListModels(api.ListModelsRequest())
                later = [await collect(stub.StreamTokens(request)) for _ in range(5)]
            lines = warnings(server.log())
    reasons = Counter("OK" if one.info is None else one.info.reason for one in outcomes)
    assert reasons.keys() == {"OK", "OVERLOADED"}, reasons
    assert {one.text for one in outcomes if one.info is None} == {"ab"}
    refused = [one for one in outcomes if one.info is not None]
    assert all(one.detail(error_details_pb2.RetryInfo) is not None for one in refused)
    assert [(one.code, one.text) for one in later] == [(grpc.StatusCode.OK, "ab")] * 5
    told = [line for line in lines if "ulimit -n" in str(line.get("todo"))]
    assert [line["limit"] for line in told] == [FILES]
    assert [engine.health for engine in models.models[0].engines] == [model_pb2.ENGINE_HEALTH_HEALTHY]


def test_a_warning_at_start():
    """The warning names the limit and what is needed, and comes only when the limit is too low."""
    engine = (*ENGINE, "--base-url", "http://127.0.0.1:1/v1")
    for most, expected in (("1000", [FILES]), ("20", [])):
        with serving(*engine, max_files=FILES, TOKENGRPC_LIMITS_MAX_GENERATIONS=most) as server:
            lines = [line for line in warnings(server.log()) if "too low" in str(line["event"])]
        assert [line["limit"] for line in lines] == expected
        assert [line["needed"] for line in lines] == [1225 for _ in expected]
