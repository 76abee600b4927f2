"""Estimates the steps of checking a value against a JSON schema, before it is done.

The validator holds Python's lock until it ends, and a schema of 2 KB can make it take hours: each of thirty
definitions refers twice to the next one.
"""

from __future__ import annotations

from typing import Any

MAX_STEPS = 6_000
"""Steps that take the estimate and the check together about 10 ms."""

# What compiling a pattern takes, if its compiled size is within the limit of the checks.
_PATTERN_STEPS = 100
# Characters that a pattern is matched with in one step.
_PATTERN_CHARACTERS = 200

_SAME_VALUE = ("not", "if", "then", "else")
_SAME_VALUE_LISTS = ("allOf", "anyOf", "oneOf")
_SAME_VALUE_TABLES = ("dependentSchemas", "dependencies")
_EACH_ITEM = ("items", "additionalItems", "contains")
_COMPARED = ("enum", "required", "properties", "type")
# Their cost depends on what other keywords have evaluated.
_UNKNOWN_COST = frozenset({"unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"})


class _CostUnknown(Exception):
    """Schema whose cost cannot be estimated."""


class _Part:
    """One schema within a schema: what each value that it is applied to costs, and where else that leads."""

    def __init__(self, document: Any, schema: dict[str, Any]) -> None:  # noqa: ANN401 - any JSON
        if schema.keys() & _UNKNOWN_COST:
            raise _CostUnknown
        patterns = _values(schema, "patternProperties")
        self.steps = 1 + sum(
            len(schema[key]) for key in _COMPARED if isinstance(schema.get(key), list | dict)
        )
        self.steps += _PATTERN_STEPS * (len(patterns) + ("pattern" in schema))
        self.has_pattern = "pattern" in schema
        self.same = [schema[key] for key in _SAME_VALUE if key in schema]
        for key in _SAME_VALUE_LISTS:
            self.same += _items(schema, key)
        for key in _SAME_VALUE_TABLES:
            self.same += _values(schema, key)
        if "$ref" in schema:
            self.same.append(_definition(document, schema["$ref"]))
        table = schema.get("properties")
        self.properties: dict[str, Any] = table if isinstance(table, dict) else {}
        self.each_property = [*patterns, *(schema[k] for k in ("additionalProperties",) if k in schema)]
        self.names = [schema[key] for key in ("propertyNames",) if key in schema]
        self.each_item = [schema[k] for k in _EACH_ITEM if k in schema and not isinstance(schema[k], list)]
        if schema.get("uniqueItems"):
            self.each_item.append(True)
        self.first_items = [*_items(schema, "prefixItems"), *_items(schema, "items")]

    def onward(self, value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - any JSON
        """Returns the schemas that are evaluated too, each with its value."""
        found = [(schema, value) for schema in self.same]
        if isinstance(value, dict):
            found += [(self.properties[name], value[name]) for name in self.properties.keys() & value.keys()]
            found += [(schema, each) for schema in self.each_property for each in value.values()]
            found += [(schema, name) for schema in self.names for name in value]
        elif isinstance(value, list):
            found += zip(self.first_items, value, strict=False)
            found += [(schema, each) for schema in self.each_item for each in value]
        return found


def is_cheap(schema: Any, value: Any, max_steps: int = MAX_STEPS) -> bool:  # noqa: ANN401 - any JSON
    """Returns whether checking a value takes at most so many steps, if every part of the schema is evaluated.

    Not cheap are also schemas whose cost is unknown, such as those that refer to an anchor.
    """
    if _may_move_references(schema):
        return False
    left = max_steps
    parts: dict[int, _Part] = {}
    waiting: list[tuple[Any, Any]] = [(schema, value)]
    try:
        while waiting and left >= len(waiting):
            inner, checked = waiting.pop()
            left -= 1
            if isinstance(inner, dict):
                part = parts.get(id(inner)) or parts.setdefault(id(inner), _Part(schema, inner))
                left -= part.steps
                if part.has_pattern and isinstance(checked, str):
                    left -= len(checked) // _PATTERN_CHARACTERS
                if left >= 0:
                    waiting += part.onward(checked)
    except _CostUnknown:
        return False
    return not waiting and left >= 0


def _may_move_references(document: Any) -> bool:  # noqa: ANN401 - any JSON
    """Returns whether `#/…` may mean something else than a place in the document: within another `$id`."""
    if isinstance(document, dict) and "draft-04" in str(document.get("$schema", "")):
        return True  # there, the keyword is `id`, which is also a usual name of a property
    waiting = list(document.values()) if isinstance(document, dict) else []
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            if "$id" in inner:
                return True
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
    return False


def _definition(document: Any, reference: Any) -> Any:  # noqa: ANN401 - any JSON
    """Returns what a reference within the document points to (RFC 6901). Raises _CostUnknown for others."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise _CostUnknown
    found = document
    for token in reference.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or key not in found:
            raise _CostUnknown
        found = found[key]
    return found


def _items(schema: dict[str, Any], key: str) -> list[Any]:
    items = schema.get(key)
    return items if isinstance(items, list) else []


def _values(schema: dict[str, Any], key: str) -> list[Any]:
    table = schema.get(key)
    return list(table.values()) if isinstance(table, dict) else []
