"""Parts of request bodies that all dialects share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.json_text import is_json
from tokengrpc.core.request import Message, Role, TextPart
from tokengrpc.errors import InvalidRequest, UnsupportedFeature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokengrpc.core.request import GenerationRequest, Sampling, Tool

# The schema of a tool without parameters.
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')

# The `where` of `unsupported` for output of another engine that this engine cannot continue.
ELSEWHERE = "this engine; start a new generation"

# Token ids that are encoded in one call.
_PIECE = 64 * 1024

# Floats below this limit represent integers exactly; larger ones stay floats.
_EXACT_FLOATS = 2.0**53


def whole_numbers(value: Any) -> Any:  # noqa: ANN401 - JSON values have no narrower type
    """Returns a value of a protobuf Struct with 5.0 as 5, because a Struct has no integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOATS:
        return int(value)
    if isinstance(value, list | tuple):
        return [whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    return value


def sampling_fields(sampling: Sampling, names: Mapping[str, str]) -> dict[str, Any]:
    """Returns the fields that are set, under the engine's `names`.

    Raises UnsupportedFeature for a field that `names` lacks.
    """
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
    requested = {name: value for name, value in values.items() if value is not None}
    for name in requested:
        if name not in names:
            raise unsupported(f"sampling.{name}", "this engine, which has no field for it")
    return {names[name]: value for name, value in requested.items()}


def tool_fields(tool: Tool, path: str, schema_name: str) -> dict[str, Any]:
    """Returns a tool's fields, with its schema under `schema_name`.

    Raises InvalidRequest, with `path`, if the schema is not JSON.
    """
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


def json_ids(ids: Sequence[int]) -> msgspec.Raw:
    """Returns token ids as JSON. Encoded in pieces, because each call holds Python's lock until it ends."""
    pieces = (msgspec.json.encode(ids[at : at + _PIECE])[1:-1] for at in range(0, len(ids), _PIECE))
    return msgspec.Raw(b"[%b]" % b",".join(pieces))


def raw_json(text: str, field: str) -> msgspec.Raw:
    """Returns JSON text to embed unchanged, so that the order of keys and all digits are preserved.

    Raises InvalidRequest, with `field`, if the text is not JSON.
    """
    data = text.encode("utf-8", "replace")
    if not is_json(data):
        raise InvalidRequest([(field, "is not JSON")])
    return msgspec.Raw(data)


def unsupported(what: str, where: str) -> UnsupportedFeature:
    """Returns the error for a feature that an engine does not support."""
    return UnsupportedFeature(f"{what} is not supported for {where}")


def prefilled(request: GenerationRequest, text: str) -> GenerationRequest:
    """Returns the request with `text` as the beginning of the assistant's reply.

    Raises UnsupportedFeature if the conversation itself ends with an assistant message.
    """
    prompt = Message(role=Role.USER, parts=(TextPart(text=request.prompt or ""),))
    messages = (prompt,) if request.messages is None else request.messages
    if messages[-1].role is Role.ASSISTANT:
        raise unsupported("continuing a reply that the conversation began", ELSEWHERE)
    reply = Message(role=Role.ASSISTANT, parts=(TextPart(text=text),))
    return replace(request, prompt=None, messages=(*messages, reply))
