"""Encoder of a request into vLLM's GenerateRequest. No I/O.

Source: smg-grpc-servicer 0.14.1, vllm/servicer.py, `_sampling_params_from_proto`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smg_vllm import vllm_engine_pb2 as pb

from tokengrpc.engines.upstream.request_body import raw_json, unsupported, whole_numbers
from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokengrpc.core.request import GenerationRequest, OutputConstraint

# vLLM's name for each field of `Sampling`.
SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repetition_penalty",
}

# Further fields of vLLM's SamplingParams that `engine_params` may set.
ENGINE_PARAMS = ("ignore_eos", "min_tokens", "stop_token_ids")

_PIECE = 8 * 1024
"""Ids that are converted at once: protobuf holds Python's lock meanwhile, for less than a millisecond."""


def encode_request(
    request: GenerationRequest,
    request_id: str,
    token_ids: Sequence[int],
    defaults: Mapping[str, Any],
) -> pb.GenerateRequest:
    """Returns the message for a request whose input is `token_ids`.

    `defaults` apply to what the request leaves unset. Raises UnsupportedFeature and InvalidRequest.
    """
    params = pb.SamplingParams(
        n=1,
        skip_special_tokens=True,
        spaces_between_special_tokens=True,
        stop=request.sampling.stop_sequences,
    )
    _set_fields(params, request, defaults)
    if request.max_output_token_count is not None:
        params.max_tokens = request.max_output_token_count
    if request.output.top_logprob_count is not None:
        params.logprobs = request.output.top_logprob_count
    if request.constraint is not None:
        _set_constraint(params, request.constraint)
    _set_engine_params(params, request.engine_params)
    return pb.GenerateRequest(
        request_id=request_id,
        stream=True,
        tokenized=_tokenized(token_ids),
        sampling_params=params,
    )


def _tokenized(token_ids: Sequence[int]) -> pb.TokenizedInput:
    tokenized = pb.TokenizedInput()
    try:
        for begin in range(0, len(token_ids), _PIECE):
            tokenized.input_ids.extend(token_ids[begin : begin + _PIECE])
    except ValueError:
        raise InvalidRequest([("prompt_token_ids", "must be from 0 to 4294967295")]) from None
    return tokenized


def _set_fields(params: pb.SamplingParams, request: GenerationRequest, defaults: Mapping[str, Any]) -> None:
    sampling = request.sampling
    for field, name in SAMPLING.items():
        value = getattr(sampling, field)
        if value is None:
            value = defaults.get(name)
        if value is not None:
            _set(params, name, value, f"sampling.{field}")
    for token, bias in sampling.logit_bias.items():
        params.logit_bias[token] = bias


def _set(params: pb.SamplingParams, name: str, value: Any, path: str) -> None:  # noqa: ANN401 - any field
    try:
        setattr(params, name, value)
    except (TypeError, ValueError):
        violation = f"must be a value that vLLM's field {name} can hold"
        raise InvalidRequest([(path, violation)]) from None


def _set_constraint(params: pb.SamplingParams, constraint: OutputConstraint) -> None:
    if constraint.json_schema is not None:
        raw_json(constraint.json_schema, "output_constraint.json_schema")
        params.json_schema = constraint.json_schema
    elif constraint.regex is not None:
        params.regex = constraint.regex
    elif constraint.grammar is not None:
        params.grammar = constraint.grammar
    else:
        params.choice.choices.extend(constraint.choices or ())


def _set_engine_params(params: pb.SamplingParams, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name not in ENGINE_PARAMS:
            allowed = ", ".join(ENGINE_PARAMS)
            raise unsupported(f"engine_params.{name[:64]}", f"a vllm engine, which takes {allowed}")
        path = f"engine_params.{name}"
        if name == "stop_token_ids":
            try:
                params.stop_token_ids.extend(whole_numbers(value))
            except (TypeError, ValueError):
                raise InvalidRequest([(path, "must be a list of token ids")]) from None
        else:
            _set(params, name, whole_numbers(value), path)
