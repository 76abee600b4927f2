"""Requests as vLLM's messages."""

from __future__ import annotations

from typing import Any

import pytest

from tokengrpc.core.request import (
    GenerationRequest,
    OutputConstraint,
    OutputOptions,
    Sampling,
)
from tokengrpc.engines.vllm.request import ENGINE_PARAMS, encode_request
from tokengrpc.errors import InvalidRequest, UnsupportedFeature


def params(defaults: dict[str, Any] | None = None, **fields: Any) -> Any:
    request = GenerationRequest(prompt="hello", **fields)
    return encode_request(request, "id", [1, 2], defaults or {}).sampling_params


def test_what_is_unset_stays_unset() -> None:
    """VLLM has its own defaults, and takes 0 for unset where a field has no presence."""
    message = encode_request(GenerationRequest(prompt="hello"), "id", [1, 2], {})
    assert (message.request_id, message.stream) == ("id", True)
    assert list(message.tokenized.input_ids) == [1, 2]
    for name in ("temperature", "max_tokens", "seed", "logprobs"):
        assert not message.sampling_params.HasField(name)
    assert message.sampling_params.n == 1
    assert message.sampling_params.skip_special_tokens


def test_every_sampling_field_is_sent() -> None:
    """Each field of the contract has one of vLLM's."""
    sampling = Sampling(
        temperature=0.0,
        top_p=0.5,
        top_k=7,
        min_p=0.25,
        seed=-3,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        repetition_penalty=1.5,
        stop_sequences=("a", "b"),
        logit_bias={5: -100.0},
    )
    sent = params(sampling=sampling, max_output_token_count=9)
    assert sent.HasField("temperature")
    assert (sent.temperature, sent.top_p, sent.top_k, sent.min_p, sent.seed) == (0.0, 0.5, 7, 0.25, -3)
    penalties = (sent.presence_penalty, sent.frequency_penalty, sent.repetition_penalty)
    assert penalties == (0.5, -0.5, 1.5)
    assert (list(sent.stop), dict(sent.logit_bias), sent.max_tokens) == (["a", "b"], {5: -100.0}, 9)


def test_the_models_defaults_apply_to_what_is_unset() -> None:
    """VLLM's HTTP server applies those of the generation config; its gRPC service leaves that to callers."""
    defaults = {"temperature": 0.5, "top_k": 20, "unknown": 1}
    sent = params(defaults, sampling=Sampling(temperature=1.0))
    assert (sent.temperature, sent.top_k) == (1.0, 20)


@pytest.mark.parametrize(("asked", "sent"), [(None, None), (0, 0), (5, 5)])
def test_logprobs(asked: int | None, sent: int | None) -> None:
    """0 asks for the tokens' own logprobs, without alternatives."""
    message = params(output=OutputOptions(top_logprob_count=asked))
    assert (message.logprobs if message.HasField("logprobs") else None) == sent


@pytest.mark.parametrize(
    ("constraint", "field", "value"),
    [
        (OutputConstraint(json_schema='{"b":1, "a":2}'), "json_schema", '{"b":1, "a":2}'),
        (OutputConstraint(regex="a+"), "regex", "a+"),
        (OutputConstraint(grammar='root ::= "a"'), "grammar", 'root ::= "a"'),
    ],
)
def test_constraints(constraint: OutputConstraint, field: str, value: str) -> None:
    """A constraint goes into the field of its form, unchanged."""
    sent = params(constraint=constraint)
    assert sent.WhichOneof("constraint") == field
    assert getattr(sent, field) == value


def test_choices() -> None:
    """Choices have a message of their own."""
    sent = params(constraint=OutputConstraint(choices=("yes", "no")))
    assert list(sent.choice.choices) == ["yes", "no"]


def test_engine_params() -> None:
    """A Struct has no integers: whole numbers become such."""
    sent = params(engine_params={"ignore_eos": True, "min_tokens": 3.0, "stop_token_ids": [4.0, 5.0]})
    assert (sent.ignore_eos, sent.min_tokens, list(sent.stop_token_ids)) == (True, 3, [4, 5])
    assert set(ENGINE_PARAMS) == {"ignore_eos", "min_tokens", "stop_token_ids"}


def test_unknown_engine_params_are_refused() -> None:
    """A message has no room for fields that are not known: none is silently without effect."""
    with pytest.raises(UnsupportedFeature, match=r"engine_params\.priority"):
        params(engine_params={"priority": 1})


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"sampling": Sampling(seed=2**40)}, "sampling.seed"),
        ({"engine_params": {"min_tokens": -1.0}}, "engine_params.min_tokens"),
        ({"engine_params": {"stop_token_ids": ["a"]}}, "engine_params.stop_token_ids"),
        ({"engine_params": {"stop_token_ids": 5.0}}, "engine_params.stop_token_ids"),
        ({"constraint": OutputConstraint(json_schema="{")}, "output_constraint.json_schema"),
    ],
)
def test_values_that_no_field_holds(fields: dict[str, Any], path: str) -> None:
    """What cannot be sent is the caller's mistake, with its path."""
    with pytest.raises(InvalidRequest) as caught:
        params(**fields)
    assert caught.value.violations[0][0] == path


def test_token_ids_out_of_range() -> None:
    """VLLM's ids are unsigned."""
    with pytest.raises(InvalidRequest, match="prompt_token_ids"):
        encode_request(GenerationRequest(prompt_token_ids=(-1,)), "id", [-1], {})
