"""Failover after planned faults: invisible before the first token, with an unbroken text after it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from tokenstreaming.v1 import input_pb2, usage_pb2

from tests.support.harness import Outcome, check_gapless, collect, serving
from tokengrpc.config import FaultSettings, ModelSettings, engine_settings, model_settings
from tokengrpc.config.faults import ENDS

TOKENS = 16
POSITIONS = [name for name in ENDS if name.endswith("_token")]
ASK: dict[str, Any] = {
    "prompt": "Tell me",
    "max_output_token_count": TOKENS,
    "sampling": input_pb2.Sampling(seed=5, logit_bias={199_999: -100}),
    "recovery": input_pb2.Recovery(max_engine_switch_count=1),
}


def pair(**faults: Any) -> ModelSettings:
    """Returns a model with two engines: the preferred one fails as planned, the other one does not."""
    shaky = engine_settings(name="shaky", faults=FaultSettings(**faults))
    return model_settings(name="m", engines=(shaky, engine_settings(name="steady", priority=1)))


async def run(model: ModelSettings) -> Outcome:
    async with serving(model) as server:
        return await collect(server.stream(**ASK))


def engines(outcome: Outcome) -> list[str]:
    """Returns the names of the engines that the caller's events name, in order."""
    started = [m.started.engine for m in outcome.messages if m.HasField("started")]
    return started + [m.engine_switched.to_engine for m in outcome.messages if m.HasField("engine_switched")]


@pytest.mark.parametrize("faults", [{"refuse": True}, {"status": 503}, {"status": 401}])
async def test_before_it_accepts(faults: dict[str, Any]) -> None:
    """The other engine runs the request, and the caller sees that engine alone."""
    outcome = await run(pair(**faults))
    assert outcome.code is grpc.StatusCode.OK
    assert engines(outcome) == ["steady"]
    assert sum(token.count for token in outcome.tokens) == TOKENS


@pytest.mark.parametrize("fault", POSITIONS)
async def test_after_tokens(fault: str) -> None:
    """At any position, the text equals that of an engine that does not fail."""
    true = await run(model_settings(name="m"))
    broken = await asyncio.gather(*(run(pair(**{fault: at})) for at in range(0, TOKENS, 3)))
    for at, outcome in zip(range(0, TOKENS, 3), broken, strict=True):
        assert outcome.code is grpc.StatusCode.OK, (fault, at, outcome.message)
        assert outcome.text == true.text, (fault, at)
        assert engines(outcome) == (["shaky", "steady"] if at else ["shaky"])
        check_gapless(outcome.messages)
        usage = outcome.messages[-1].usage
        assert usage.output_token_count == TOKENS
        # A lost engine has not reported the input: the server counts it with the model's own tokenizer.
        source = usage_pb2.USAGE_SOURCE_COUNTED if at else usage_pb2.USAGE_SOURCE_ENGINE
        assert usage.source == source


async def test_a_model_whose_requests_have_faults() -> None:
    """`times` is counted over all engines: the first attempt fails, the second one succeeds."""
    both = (engine_settings(name="one"), engine_settings(name="two", priority=1))
    model = model_settings(name="m", engines=both, allow_request_faults=True)
    plan = {"faults": {"cut_at_token": 5, "times": 1}}
    true = await run(model_settings(name="m"))
    async with serving(model) as server:
        outcome = await collect(server.stream(**ASK, engine_params=plan))
    assert outcome.code is grpc.StatusCode.OK
    assert engines(outcome) == ["one", "two"]
    assert outcome.text == true.text
