"""What the bodies of all dialects' requests have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.request import Message, Role, TextPart
from tokengrpc.errors import InvalidRequest, UnsupportedFeature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.request import GenerationRequest, Sampling, Tool

# The schema of a tool without parameters.
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')

# Of everything that cannot be continued.
ELSEWHERE = "this engine; it can only be generated anew"

# Whole numbers below this are what they seem as floats; greater ones stay floats.
_EXACT_FLOATS = 2.0**53


def whole_numbers(value: Any) -> Any:  # noqa: ANN401 - JSON values have no narrower type
    """A value of a protobuf Struct with its numbers as they were meant: 5.0 is 5, as a Struct has no ints."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOATS:
        return int(value)
    if isinstance(value, list | tuple):
        return [whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    return value


def sampling_fields(sampling: Sampling, names: Mapping[str, str]) -> dict[str, Any]:
    """What is set, by the engine's names. Raises UnsupportedFeature for a field without one."""
    values: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "stop_sequences": list(sampling.stop_sequences) or None,
        "logit_bias": {str(key): bias for key, bias in sampling.logit_bias.items()} or None,
    }
    asked = {name: value for name, value in values.items() if value is not None}
    for name in asked:
        if name not in names:
            raise unsupported(f"sampling.{name}", "this engine, which has no field for it")
    return {names[name]: value for name, value in asked.items()}


def tool_fields(tool: Tool, path: str, schema_name: str) -> dict[str, Any]:
    """A tool, its schema under the engine's name for it. Raises InvalidRequest for one that is no JSON."""
    schema = tool.parameters_json_schema
    fields: dict[str, Any] = {
        "name": tool.name,
        schema_name: raw_json(schema, f"{path}.parameters_json_schema") if schema else _NO_PARAMETERS,
    }
    if tool.description:
        fields["description"] = tool.description
    if tool.strict:
        fields["strict"] = True
    return fields


def raw_json(text: str, field: str) -> msgspec.Raw:
    """JSON text to be embedded as it stands, so that order and numbers survive. Raises InvalidRequest."""
    data = text.encode("utf-8", "replace")
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest([(field, "is not JSON")]) from error
    return msgspec.Raw(data)


def unsupported(what: str, where: str) -> UnsupportedFeature:
    """The error for something that an engine has no field for."""
    return UnsupportedFeature(f"{what} is not supported for {where}")


def prefilled(request: GenerationRequest, text: str) -> GenerationRequest:
    """The request with the assistant's answer begun. Raises UnsupportedFeature if it was begun before."""
    asked = Message(role=Role.USER, parts=(TextPart(text=request.prompt or ""),))
    messages = (asked,) if request.messages is None else request.messages
    if messages[-1].role is Role.ASSISTANT:
        raise unsupported("an answer that the conversation began itself", ELSEWHERE)
    answer = Message(role=Role.ASSISTANT, parts=(TextPart(text=text),))
    return replace(request, prompt=None, messages=(*messages, answer))
