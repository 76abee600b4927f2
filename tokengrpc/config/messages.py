"""Conversion of msgspec's errors to messages that say which key is wrong and what is allowed."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import inspect

from tokengrpc.config.values import PATTERNS, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_PATH = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*?)`")
_OWN = re.compile(r"^([A-Za-z_][\w.\[\]-]*): ")


class Problem(Exception):
    """Invalid setting at a path, such as `models[0].kind`; an empty path means the whole value."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


def convert(value: object, to: type[T], *, strict: bool = True) -> T:
    """Converts a value to a type; if not `strict`, text is converted to numbers. Raises Problem."""
    try:
        return msgspec.convert(value, to, strict=strict)
    except msgspec.ValidationError as error:
        raise _problem(error, to) from None


def _problem(error: msgspec.ValidationError, to: type[Any]) -> Problem:
    text = str(error)
    where = _PATH.search(text)
    path = where[1] if where else ""
    info = _at(inspect.type_info(to), path)
    if isinstance(error.__cause__, ConfigError):
        return own_problem(str(error.__cause__), path)
    if unknown := _UNKNOWN.match(text):
        fields = _fields(info)
        tables = [name for name, inner in fields.items() if unknown[1] in _fields(bare(inner))]
        reason = f"belongs in [{_join(path, tables[0])}]" if tables else unknown_key(unknown[1], list(fields))
        return Problem(_join(path, unknown[1]), reason)
    if missing := _MISSING.match(text):
        key = _join(path, missing[1])
        return Problem(key, f"required: {_allowed(_at(info, missing[1]))}")
    return Problem(path, f"must be {_allowed(info)}")


def own_problem(text: str, path: str = "") -> Problem:
    """Converts the message of a check in the schema, which starts with its key."""
    key = _OWN.match(text)
    if key is None:
        return Problem(path, text)
    return Problem(_join(path, key[1]), text[key.end() :])


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _fields(info: inspect.Type) -> dict[str, inspect.Type]:
    """Returns the types of a table's keys; empty for any other type."""
    return {f.name: f.type for f in info.fields} if isinstance(info, inspect.StructType) else {}


def _at(info: inspect.Type, path: str) -> inspect.Type:
    """Returns the type at a path inside a type."""
    for step in re.findall(r"[^.\[\]]+", path):
        info = bare(info)
        if isinstance(info, inspect.StructType):
            info = next((f.type for f in info.fields if f.name == step), inspect.AnyType())
        elif isinstance(info, inspect.VarTupleType):
            info = info.item_type
    return bare(info)


def bare(info: inspect.Type) -> inspect.Type:
    """Returns a type without its metadata, and without None."""
    while isinstance(info, inspect.Metadata | inspect.UnionType):
        # The only unions are of a type and None.
        info = info.type if isinstance(info, inspect.Metadata) else info.types[0]
    return info


def unknown_key(key: str, names: Sequence[str]) -> str:
    """Returns the message about a key that is not one of `names`."""
    close = get_close_matches(key, names, n=1)
    return (
        f"unknown key; did you mean `{close[0]}`?"
        if close
        else f"unknown key; allowed are: {', '.join(names)}"
    )


def listed(words: Sequence[str]) -> str:
    """Returns words as a list in a sentence, such as `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _allowed(info: inspect.Type) -> str:
    """Describes the values that a type allows."""
    text = "a table"
    match info:
        case inspect.LiteralType(values=values):
            text = f"one of {', '.join(map(str, values))}"
        case inspect.EnumType(cls=kinds):
            text = f"one of {', '.join(kinds)}"
        case inspect.IntType():
            text = "a whole number" + _bounds(info)
        case inspect.FloatType():
            text = "a number" + _bounds(info)
        case inspect.StrType(pattern=pattern):
            text = PATTERNS[pattern] if pattern else "text"
        case inspect.BoolType():
            text = "true or false"
        case inspect.VarTupleType(item_type=item, min_length=least):
            items = "tables" if isinstance(bare(item), inspect.StructType) else "texts"
            text = f"a list of {items}" + (f", at least {least}" if least else "")
    return text


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    low = f" of at least {info.ge:g}" if info.ge is not None else ""
    low = f" above {info.gt:g}" if info.gt is not None else low
    high = f"at most {info.le:,.0f}" if info.le is not None else ""
    return f"{low} and {high}" if low and high else low or high
