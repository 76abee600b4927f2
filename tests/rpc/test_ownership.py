"""Generations of other tenants do not exist: by answer, by effect and by time."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.every_rpc import OWNED
from tests.support.harness import collect, read_until, serving, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text, UsageChunk
from tests.support.usage_service import KEYS, TENANTS, as_tenant
from tokengrpc.config import model_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.harness import Served

THEIRS, UNUSED = "theirs-1", "unused-1"
"""The id of a generation of the tenant `a`, and one of the same length that nobody has used."""
STATES = ("running", "ended", "in the ledger")


class Stage:
    """A server on which `a` has a generation, as `b` sees it."""

    def __init__(self, served: Served, pause: Pause) -> None:
        self.served = served
        self._pause = pause

    async def begin(self, state: str) -> None:
        """Begins the generation of `a`, and brings it into a state."""
        call = self.served.stream(
            THEIRS, recovery={"disconnect_action": "DISCONNECT_ACTION_DETACH"}, **as_tenant("a")
        )
        await read_until(call, lambda message: message.tokens)
        if state != "running":
            self._pause.release()
            assert (await collect(call)).code is grpc.StatusCode.OK
        if state == "in the ledger":
            self.served.registry.close()  # forgets it, as time would

    async def refused(self, path: str, generation_id: str, caller: str = "b") -> tuple[bytes, ...]:
        """Returns the whole status of a call, with the id left out."""
        kinds = {"ResumeTokens": pb.ResumeTokensRequest, "GetGeneration": pb.GetGenerationRequest}
        request = kinds.get(path.rpartition("/")[2], pb.CancelGenerationRequest)(generation_id=generation_id)
        outcome = await collect(
            self.served.channel.unary_stream(path)(request.SerializeToString(), **as_tenant(caller))
        )
        assert outcome.code is grpc.StatusCode.NOT_FOUND
        trailers = sorted((name, value) for name, value in outcome.trailers.items() if name != "date")
        texts = [outcome.message.encode(), outcome.status.SerializeToString(), repr(trailers).encode()]
        return tuple(text.replace(generation_id.encode(), b"ID") for text in texts)


@pytest.fixture
async def stage(monkeypatch, tmp_path) -> AsyncIterator[Stage]:
    for name, variable in KEYS.items():
        monkeypatch.setenv(variable, f"{name}-secret")
    pause = Pause()
    async with (
        ScriptedEngine() as engine,
        serving(
            upstream(engine.base_url), tenants=TENANTS, data_dir=str(tmp_path), ledger="sqlite"
        ) as served,
    ):
        engine.script(Text("One"), pause, Text(" two"), Finish(), UsageChunk(), Done())
        yield Stage(served, pause)
        pause.release()


@pytest.mark.parametrize("path", OWNED)
@pytest.mark.parametrize("state", STATES)
async def test_the_answer_is_that_for_an_unused_id(stage, path, state):
    """Byte by byte, but for the id: code, message, details and trailers. Not even an admin is told more."""
    await stage.begin(state)
    for caller in ("b", "root"):
        known = await stage.refused(path, THEIRS, caller)
        assert known == await stage.refused(path, UNUSED, caller)
    if state == "running":
        assert not (await stage.served.get(THEIRS, **as_tenant("a"))).HasField("finished"), "it goes on"


async def test_the_same_id_is_free_for_others(stage):
    """Their generation is another one: nothing is attached, and nothing in use."""
    await stage.begin("running")
    other = stage.served.stream(THEIRS, prompt="another", **as_tenant("b"))
    (first, *_) = await read_until(other, lambda message: message.tokens)
    assert first.HasField("started")
    assert len(stage.served.tasks) == 2
    other.cancel()


@pytest.mark.parametrize("path", OWNED)
@pytest.mark.parametrize("state", STATES)
async def test_the_answer_takes_as_long(stage, path, state):
    """By the fastest tenth of alternating calls, in one of three tries. A lookup more would double them."""
    await stage.begin(state)
    ratios = []
    while not any(0.6 < ratio < 1.6 for ratio in ratios):
        assert len(ratios) < 3, ratios
        taken: dict[str, list[float]] = {THEIRS: [], UNUSED: []}
        for _ in range(60):
            for generation_id, times in taken.items():
                began = time.perf_counter()
                await stage.refused(path, generation_id)
                times.append(time.perf_counter() - began)
        theirs, unused = (statistics.quantiles(times, n=10)[0] for times in taken.values())
        ratios.append(theirs / unused)


async def test_models_are_those_of_the_tenant(monkeypatch):
    """A model that a tenant may not use is not listed, and refused by name in each call."""
    monkeypatch.setenv("KEY", "a-secret")
    models = [model_settings(name=name, kind="builtin") for name in ("one", "two")]
    tenant = {"name": "a", "key_env": "KEY", "models": ("one",)}
    async with serving(*models, tenants=(type(TENANTS[0])(**tenant),)) as served:
        listed = await served.stub.ListModels(pb.ListModelsRequest(), **as_tenant("a"))
        assert [model.name for model in listed.models] == ["one"]
        outcome = await collect(served.stream(model="two", **as_tenant("a")))
        assert outcome.info.reason == "MODEL_NOT_ALLOWED"
