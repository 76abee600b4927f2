"""vLLM gives the same answers over its gRPC service and over HTTP, and one continues the other's output."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from tokenstreaming.v1 import input_pb2

from tests.real_engines.bench import PROMPT, Bench, conversation
from tests.real_engines.vllm import VLLM_GRPC, VLLM_HTTP
from tests.support.harness import check_gapless, collect, read_until, serving, upstream
from tokengrpc.config import engine_settings, model_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.real_engines.kind import Kind
    from tests.support.harness import Outcome

GREEDY: Final = input_pb2.Sampling(temperature=0)
WITH_IDS: Final = input_pb2.OutputOptions(include_token_ids=True)


def runs_on(kind: Kind) -> bool:
    """Returns whether these cases are for this engine, which has the other one beside it."""
    return kind is VLLM_GRPC


def ids_of(outcome: Outcome) -> list[int]:
    return [token.id for token in outcome.tokens]


def usage_of(outcome: Outcome) -> tuple[int, int, int]:
    usage = outcome.messages[-1].usage
    return usage.input_token_count, usage.output_token_count, usage.source


def reason_of(outcome: Outcome) -> tuple[Any, str]:
    assert outcome.finished is not None
    return outcome.finished.finish_reason, outcome.finished.engine_finish_reason


async def both(bench: Bench, requests: Sequence[dict[str, Any]]) -> list[tuple[Outcome, Outcome]]:
    """Returns the answers over gRPC with those over HTTP, of the same model."""
    settings = VLLM_HTTP.settings | {"allowed_engine_params": ("ignore_eos",)}
    async with serving(upstream(bench.engine.direct_url, **settings)) as over_http:
        return [
            (await bench.stream(**request), await collect(over_http.stream(**request, sampling=GREEDY)))
            for request in requests
        ]


async def test_both_services_give_the_same_answer(bench: Bench):
    inputs = (
        {"prompt": PROMPT},
        {"prompt_token_ids": input_pb2.TokenIds(ids=[0, 90, 91, 92])},
        {"conversation": conversation("Who are you?", "A parrot 🦜.", "Then tell me a story.")},
    )
    options = {"max_output_token_count": 100, "output": WITH_IDS, "engine_params": {"ignore_eos": True}}
    for over_grpc, over_http in await both(bench, [{**given, **options} for given in inputs]):
        assert over_grpc.code.name == over_http.code.name == "OK", (over_grpc.message, over_http.message)
        # vLLM streams nothing for half a character at the end. From its ids, tokengrpc makes a mark.
        assert over_grpc.text.rstrip("\ufffd") == over_http.text.rstrip("\ufffd")
        assert ids_of(over_grpc) == ids_of(over_http)
        assert usage_of(over_grpc) == usage_of(over_http)
        assert reason_of(over_grpc) == reason_of(over_http)


async def test_both_services_give_the_same_logprobs(bench: Bench):
    options = {"max_output_token_count": 20, "output": input_pb2.OutputOptions(top_logprob_count=3)}
    ((over_grpc, over_http),) = await both(bench, [{"prompt": PROMPT, **options}])
    assert [token.logprob for token in over_grpc.tokens] == pytest.approx(
        [token.logprob for token in over_http.tokens], abs=1e-3
    )
    for one, other in zip(over_grpc.tokens, over_http.tokens, strict=True):
        best = [top.logprob for top in one.top_logprobs]
        assert len(best) == 3
        assert best[0] == one.logprob
        # Over HTTP, candidates of the same text are one, such as parts of characters and ids without a token.
        for top in other.top_logprobs:
            assert any(value == pytest.approx(top.logprob, abs=1e-3) for value in best)


async def test_http_continues_what_grpc_began(bench: Bench):
    request = {
        "prompt": PROMPT,
        "max_output_token_count": 1500,
        "output": WITH_IDS,
        "engine_params": bench.kind.never_ending,
    }
    whole = await bench.stream(**request)
    settings = {"health_check_interval": 0.0}
    over_http = {**VLLM_HTTP.settings, **settings, "base_url": bench.engine.direct_url, "priority": 1}
    over_grpc = {**VLLM_GRPC.settings, **settings, "base_url": f"http://127.0.0.1:{bench.recorder.port}"}
    model = model_settings(
        name="scripted",
        engines=(
            engine_settings(name="grpc", **over_grpc),
            engine_settings(name="http", **over_http),
        ),
        allowed_engine_params=("ignore_eos",),
    )
    async with serving(model) as server:
        call = server.stream(
            **request, sampling=GREEDY, recovery=input_pb2.Recovery(max_engine_switch_count=1)
        )
        first = await read_until(call, lambda message: message.tokens)
        await asyncio.to_thread(bench.engine.process.kill)
        rest = await collect(call)
    assert rest.code.name == "OK", rest.message
    messages = [*first, *rest.messages]
    check_gapless(messages)
    assert any(message.HasField("engine_switched") for message in messages)
    tokens = [token for message in messages for token in message.tokens]
    assert "".join(token.text for token in tokens) == whole.text
    assert [token.id for token in tokens] == ids_of(whole)
