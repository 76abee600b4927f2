"""How servers want to be told what an output must match: functions from a constraint's value to fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import msgspec

# A value is JSON as it stands (msgspec.Raw) for json_schema, a list of texts for choices, else text.
Constrain = Callable[[Any], dict[str, Any]]


def as_response_format(schema: msgspec.Raw) -> dict[str, Any]:
    """OpenAI's. A schema needs a name; `strict` asks for what a constraint means."""
    named = {"name": "output", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def as_tgi_json_schema(schema: msgspec.Raw) -> dict[str, Any]:
    """TGI's, whose `value` is the schema with a name."""
    return {"response_format": {"type": "json_schema", "value": {"name": "output", "schema": schema}}}


def as_tgi_regex(regex: str) -> dict[str, Any]:
    """TGI's."""
    return {"response_format": {"type": "regex", "value": regex}}


def as_field(name: str) -> Constrain:
    """A field of that name with the value as it is."""
    return lambda value: {name: value}


def as_text_field(name: str) -> Constrain:
    """A field of that name with JSON as text."""
    return lambda value: {name: bytes(value).decode()}


def as_structured_output(name: str) -> Constrain:
    """VLLM's object of constraints."""
    return lambda value: {"structured_outputs": {name: value}}


def as_grammar(name: str) -> Constrain:
    """Choices as a grammar in GBNF, llama.cpp's form of it."""
    return lambda choices: {name: "root ::= " + " | ".join(map(_literal, choices))}


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for character, escape in {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.items():
        escaped = escaped.replace(character, escape)
    return f'"{escaped}"'
