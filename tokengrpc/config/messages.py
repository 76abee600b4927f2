"""msgspec's errors in words for people: which key, and what is allowed there."""

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
_OWN = re.compile(r"^([A-Za-z_][\w.\[\]]*): ")


class Problem(Exception):
    """What is wrong at a path, such as `models[0].kind`; an empty path is the whole."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


def convert(value: object, to: type[T], *, strict: bool = True) -> T:
    """A value of a type; `strict` False reads numbers from text. Raises Problem."""
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
        names = [f.name for f in info.fields] if isinstance(info, inspect.StructType) else []
        return Problem(_join(path, unknown[1]), unknown_key(unknown[1], names))
    if missing := _MISSING.match(text):
        key = _join(path, missing[1])
        return Problem(key, f"required: {_allowed(_at(info, missing[1]))}")
    return Problem(path, f"must be {_allowed(info)}")


def own_problem(text: str, path: str = "") -> Problem:
    """A check of the schema itself, which starts with its key."""
    key = _OWN.match(text)
    if key is None:
        return Problem(path, text)
    return Problem(_join(path, key[1]), text[key.end() :])


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _at(info: inspect.Type, path: str) -> inspect.Type:
    """The type at a path below a type."""
    for step in re.findall(r"[^.\[\]]+", path):
        info = bare(info)
        if isinstance(info, inspect.StructType):
            info = next((f.type for f in info.fields if f.name == step), inspect.AnyType())
        elif isinstance(info, inspect.VarTupleType):
            info = info.item_type
    return bare(info)


def bare(info: inspect.Type) -> inspect.Type:
    """A type without its description, and set."""
    while isinstance(info, inspect.Metadata | inspect.UnionType):
        # Of unions there are only settings that may be unset.
        info = info.type if isinstance(info, inspect.Metadata) else info.types[0]
    return info


def unknown_key(key: str, names: Sequence[str]) -> str:
    """Says what is wrong with a key that is not one of these."""
    close = get_close_matches(key, names, n=1)
    meant = f"did you mean `{close[0]}`? " if close else ""
    return f"no such key; {meant}allowed are: {', '.join(names)}"


def _allowed(info: inspect.Type) -> str:
    """What a type takes."""
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
