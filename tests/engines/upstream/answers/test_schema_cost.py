"""An answer is checked against its schema only if that takes few steps, whatever the schema refers to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tokengrpc.engines.upstream.answers.checks import mismatch
from tokengrpc.engines.upstream.answers.schema_cost import is_cheap

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "friends": {"$ref": "#/$defs/people"}},
    "required": ["name"],
    "additionalProperties": False,
}
PEOPLE = {
    "$defs": {"person": PERSON, "people": {"items": {"$ref": "#/$defs/person"}}},
    "$ref": "#/$defs/people",
}
SOME = [{"name": "Ann", "friends": [{"name": "Bo"}, {"name": "Cy"}]}] * 5


def nested(depth: int) -> Any:
    """An object in an object, and so on."""
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def doubling(applicator: str) -> dict[str, Any]:
    """Thirty definitions, each of which refers twice to the next one: a billion evaluations of the last."""
    twice = {n: {applicator: [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(30)}
    return {"$defs": {str(n): schema for n, schema in twice.items()} | {"30": {}}, "$ref": "#/$defs/0"}


DEAR: dict[str, tuple[Any, Any]] = {
    "all of": (doubling("allOf"), {}),
    "any of": (doubling("anyOf"), {}),
    "one of": (doubling("oneOf"), {}),
    "itself": ({"$ref": "#"}, {}),
    "by depth": ({"properties": {"a": {"allOf": [{"$ref": "#"}] * 2}}}, nested(40)),
    "each item with many values": ({"items": {"enum": list(range(1000))}}, [-1] * 100),
    "many patterns": ({"allOf": [{"pattern": f"^a{n}"} for n in range(100)]}, "a"),
    "a pattern for a long text": ({"allOf": [{"pattern": "b$"}] * 20}, "a" * 200_000),
    "unevaluated properties": ({"unevaluatedProperties": False}, {}),
    "another base": ({"$defs": {"a": {"$id": "urn:a", "$ref": "#/$defs/b"}, "b": {}}}, {}),
    "an old draft": ({"$schema": "http://json-schema.org/draft-04/schema#", "id": "urn:a"}, {}),
    "another document": ({"$ref": "https://example.org/schema"}, {}),
    "nothing": ({"$ref": "#/$defs/none"}, {}),
}


@pytest.mark.parametrize("name", DEAR)
def test_dear_checks_are_left_out(name: str):
    """They are not even begun: the validator could not be stopped."""
    schema, answer = DEAR[name]
    assert not is_cheap(schema, answer)
    assert mismatch("m", json.dumps(schema), json.dumps(answer)) is None


def test_ordinary_schemas_are_checked():
    """References, recursion and patterns are cheap on answers of a usual size."""
    assert is_cheap(PEOPLE, SOME)
    assert mismatch("m", json.dumps(PEOPLE), json.dumps(SOME)) is None
    wrong = [*SOME, {"name": "Ann", "friends": [{"name": "bo"}]}]
    assert mismatch("m", json.dumps(PEOPLE), json.dumps(wrong)) is not None


def test_each_kind_of_subschema_counts():
    """A part that applies to a value, to its properties or to its items is evaluated once for each."""
    ten = {"allOf": [True] * 10}
    parts: list[tuple[Any, Any]] = [
        ({"not": ten}, 1),
        ({"if": True, "then": ten, "else": True}, 1),
        ({"dependentSchemas": {"a": ten}}, {}),
        ({"properties": {"a": ten}}, {"a": 1}),
        ({"patternProperties": {"": ten}}, {"a": 1}),
        ({"additionalProperties": ten}, {"a": 1}),
        ({"propertyNames": ten}, {"a": 1}),
        ({"prefixItems": [ten]}, [1]),
        ({"items": ten}, [1]),
        ({"contains": ten}, [1]),
    ]
    assert [schema for schema, value in parts if is_cheap(schema, value, 10)] == []
    assert [schema for schema, value in parts if not is_cheap(schema, value, 130)] == []
