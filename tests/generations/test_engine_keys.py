"""Callers' own keys for engines: where they go, and where not."""

from __future__ import annotations

import pickle

import grpc
import pytest
from msgspec import json
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.harness import collect, serving, upstream
from tests.support.scripted_engine import Done, Finish, Reset, ScriptedEngine, Status, Text, UsageChunk
from tests.support.several_engines import two_engines
from tokengrpc.config import model_settings
from tokengrpc.core.breaker import CONSECUTIVE
from tokengrpc.core.engine_key import EngineKey
from tokengrpc.core.request import GenerationRequest

ANSWER = (Text("Well"), Finish(), UsageChunk(), Done())
KEY = "sk-zebra-77"


def own(key: str = KEY) -> dict:
    return {"metadata": (("x-tokengrpc-engine-key", key),)}


def sent(engine: ScriptedEngine, header: str = "Authorization") -> list[list[str]]:
    """The keys of the engine's calls: all values of a header each."""
    return [call.headers.getall(header, []) for call in engine.calls]


async def test_the_callers_key_is_used_for_its_generation_alone(engine, monkeypatch) -> None:
    """Over the same connections, calls without a key get the server's own."""
    monkeypatch.setenv("OURS", "ours")
    async with serving(upstream(engine.base_url, api_key_env="OURS", caller_keys=True)) as server:
        engine.script(*ANSWER)
        for call in ({}, own(), {}, own("sk-other")):
            assert (await collect(server.stream(**call))).text == "Well"
        assert sent(engine) == [["Bearer ours"], [f"Bearer {KEY}"], ["Bearer ours"], ["Bearer sk-other"]]
        assert engine.open_connections == 1


async def test_an_anthropic_engine_gets_the_key_in_its_own_header() -> None:
    """And not in another one."""
    async with ScriptedEngine(ANTHROPIC) as engine:
        model = model_settings(name="m", kind="anthropic", base_url=engine.base_url, caller_keys=True)
        async with serving(model) as server:
            engine.script(*ANSWER)
            await collect(server.stream(max_output_token_count=5, **own()))
            assert (sent(engine, "x-api-key"), sent(engine)) == ([[KEY]], [[]])


@pytest.mark.parametrize(
    ("setting", "call", "reason"),
    [
        (False, own(), "ENGINE_KEY_NOT_ALLOWED"),
        ("required", {}, "ENGINE_KEY_REQUIRED"),
        (True, own("two words"), "INVALID_REQUEST"),
        (True, {"metadata": own()["metadata"] * 2}, "INVALID_REQUEST"),
    ],
)
async def test_a_wrong_key_is_refused(engine, setting, call, reason) -> None:
    """With INVALID_ARGUMENT, before any engine is called, and without the key in the error."""
    async with serving(upstream(engine.base_url, caller_keys=setting)) as server:
        outcome = await collect(server.stream(**call))
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert "two words" not in f"{outcome.message} {outcome.trailers}"
        assert engine.calls == []


async def test_no_engine_without_the_setting_gets_a_callers_request() -> None:
    """Retries and failover stay with engines that take the key: the caller does not pay by ours."""
    async with two_engines(of_a={"caller_keys": True}) as two:
        two.a.script(Reset())
        outcome = await collect(two.server.stream(**own()))
        assert outcome.info.reason == "ENGINE_UNAVAILABLE"
        assert two.b.calls == []
        assert {key for keys in sent(two.a) for key in keys} == {f"Bearer {KEY}"}
        assert (await collect(two.server.stream())).text == "Well said"


async def test_a_retry_uses_the_key_again() -> None:
    """Also on another engine that takes it."""
    async with two_engines(of_a={"caller_keys": True}, of_b={"caller_keys": "required"}) as two:
        two.a.script(Reset())
        assert (await collect(two.server.stream(**own()))).text == "Well said"
        assert (sent(two.a), sent(two.b)) == ([[f"Bearer {KEY}"]], [[f"Bearer {KEY}"]])
        two.a.script(*ANSWER)
        assert (await collect(two.server.stream())).text == "Well"


@pytest.mark.parametrize("status", [401, 429])
async def test_a_bad_key_says_nothing_about_the_engine(engine, status) -> None:
    """No circuit breaker opens, and no backoff begins, because one caller's key is refused."""
    async with serving(upstream(engine.base_url, caller_keys=True)) as server:
        engine.script(Status(status, {"error": {"message": f"bad key {KEY}"}}))
        for _ in range(2 * CONSECUTIVE):
            outcome = await collect(server.stream(**own()))
            assert KEY not in f"{outcome.message} {outcome.trailers} {outcome.status}"
        (pooled,) = server.server.catalog.resolve("").pool.engines
        assert pooled.breaker.closed
        assert not pooled.failed
        engine.script(*ANSWER)
        assert (await collect(server.stream())).text == "Well"


async def test_nothing_that_is_kept_has_the_key(engine) -> None:
    """Neither the generation, nor the usage record, nor the fingerprint: another key attaches."""
    async with serving(upstream(engine.base_url, caller_keys=True)) as server:
        engine.script(*ANSWER)
        assert (await collect(server.stream("g", **own()))).text == "Well"
        again = await collect(server.stream("g", **own("sk-another")))
        assert (again.text, len(engine.calls)) == ("Well", 1)
        (record,) = server.ledger.records.values()
        found = await server.stub.GetGeneration(pb.GetGenerationRequest(generation_id="g"))
        (task,) = server.tasks
        kept = f"{record} {json.encode(record)} {found} {task.request} {task.snapshot()}"
        assert KEY not in kept
        assert not task.request.engine_key


def test_a_key_shows_and_stores_itself_nowhere() -> None:
    """Not in the text of a request, and not in bytes."""
    request = GenerationRequest(prompt="p", engine_key=EngineKey(KEY))
    assert KEY not in f"{request} {request!r} {request.engine_key}"
    with pytest.raises(TypeError, match="never stored"):
        pickle.dumps(request)
