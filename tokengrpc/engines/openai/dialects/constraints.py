"""Encoders for output constraints: functions from a constraint's value to fields of the request body."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import msgspec

# The value is verbatim JSON (msgspec.Raw) for json_schema, a list of strings for choices, otherwise a string.
ConstraintEncoder = Callable[[Any], dict[str, Any]]


def as_response_format(schema: msgspec.Raw) -> dict[str, Any]:
    """Encodes a schema as OpenAI's `response_format`.

    The format requires a name. `strict` makes the server enforce the schema, as a constraint demands.
    """
    named = {"name": "output", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def as_json_object(schema: msgspec.Raw) -> dict[str, Any]:
    """Encodes a schema as llama-cpp-python's `response_format`, which knows no other type."""
    return {"response_format": {"type": "json_object", "schema": schema}}


def as_tgi_json_schema(schema: msgspec.Raw) -> dict[str, Any]:
    """Encodes a schema as TGI's `response_format`, whose `value` holds a name and the schema."""
    return {"response_format": {"type": "json_schema", "value": {"name": "output", "schema": schema}}}


def as_tgi_regex(regex: str) -> dict[str, Any]:
    """Encodes a regular expression as TGI's `response_format`."""
    return {"response_format": {"type": "regex", "value": regex}}


def as_field(name: str) -> ConstraintEncoder:
    """Returns an encoder that puts the value unchanged into the field `name`."""
    return lambda value: {name: value}


def as_text_field(name: str) -> ConstraintEncoder:
    """Returns an encoder that puts a JSON value as a string into the field `name`."""
    return lambda value: {name: bytes(value).decode()}


def as_structured_output(name: str) -> ConstraintEncoder:
    """Returns an encoder that puts the value under `name` into vLLM's `structured_outputs`."""
    return lambda value: {"structured_outputs": {name: value}}


def as_grammar(name: str) -> ConstraintEncoder:
    """Returns an encoder that writes choices as a GBNF grammar (llama.cpp's format) into the field `name`."""
    return lambda choices: {name: "root ::= " + " | ".join(map(_gbnf_literal, choices))}


def _gbnf_literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for character, escape in {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.items():
        escaped = escaped.replace(character, escape)
    return f'"{escaped}"'
