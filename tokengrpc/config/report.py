"""Settings as TOML for people, with the meaning and origin of each value, and without secrets."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

import msgspec.inspect

from tokengrpc.config.engine import EngineSettings
from tokengrpc.config.faults import FaultSettings
from tokengrpc.config.models import ModelSettings
from tokengrpc.config.texts import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokengrpc.config.schema import Settings

_INDEX = re.compile(r"\[\d+\]")
_WIDEST = 48
_LEAST_COMMENT = 20


def describe(
    settings: Settings, origins: Mapping[str, str] | None = None, *, width: int | None = None
) -> str:
    """Returns the effective settings as TOML, which can be read back except for masked options.

    Shows the variable or file of each key, never the key itself. Without `origins`, the origin of values is
    left out. Comments are wrapped to `width` columns.
    """
    return "\n".join(_table(settings, "", origins, width)) + "\n"


def _table(
    struct: msgspec.Struct, path: str, origins: Mapping[str, str] | None, line_width: int | None
) -> Iterator[str]:
    """Yields the lines of a table: plain values first, then nested tables, as TOML requires."""
    values = _values(struct)
    meanings = _meanings(type(struct))
    if isinstance(struct, ModelSettings) and struct.is_single:
        # The settings of a single engine are shown with those of the model.
        (engine,) = values.pop("engines")
        values = {"name": struct.name, "kind": engine.kind, **values, **_values(engine), **values}
        meanings = _meanings(type(engine)) | meanings
    tables = {name: value for name, value in values.items() if _is_table(value)}
    rows = {
        name: f"{name} = {_value(without_secrets(value))}"
        for name, value in values.items()
        if name not in tables
    }
    width = max(len(row) for row in rows.values() if len(row) <= _WIDEST)
    for name, row in rows.items():
        where = f"{path}.{name}" if path else name
        origin = "" if origins is None else f" ({_origin(where, origins)})"
        yield from _commented(row, width, f"{meanings.get(name, '')}{origin}", line_width)
    for name, value in tables.items():
        where = f"{path}.{name}" if path else name
        header = _INDEX.sub("", where)
        if isinstance(value, msgspec.Struct):
            yield from ("", f"[{header}]", *_table(value, where, origins, line_width))
            continue
        for index, item in enumerate(value):
            yield from ("", f"[[{header}]]", *_table(item, f"{where}[{index}]", origins, line_width))


def _commented(row: str, width: int, comment: str, line_width: int | None) -> Iterator[str]:
    """Yields a row with its comment, which is continued below itself if the line is too narrow."""
    room = len(comment) if line_width is None else max(line_width - width - len("  # "), _LEAST_COMMENT)
    for part in textwrap.wrap(comment, room):
        yield f"{row:<{width}}  # {part}"
        row = ""


def _values(struct: msgspec.Struct) -> dict[str, Any]:
    if isinstance(struct, EngineSettings):
        return struct.shown()
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _is_table(value: object) -> bool:
    inner = value[0] if isinstance(value, tuple) and value else value
    return isinstance(inner, msgspec.Struct) and not isinstance(inner, FaultSettings)


def _meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Returns the descriptions of a struct's fields."""
    info = msgspec.inspect.type_info(struct)
    fields = info.fields if isinstance(info, msgspec.inspect.StructType) else ()
    return {
        field.name: (field.type.extra_json_schema or {}).get("description", "")
        for field in fields
        if isinstance(field.type, msgspec.inspect.Metadata)
    }


def _origin(path: str, origins: Mapping[str, str]) -> str:
    """Returns the origin of a value, or of the first value inside it."""
    inside = next((origin for where, origin in origins.items() if where.startswith(f"{path}.")), "default")
    return origins.get(path, inside)


def _value(value: Any) -> str:  # noqa: ANN401 - anything that TOML can hold
    match value:
        case FaultSettings():
            return _value(msgspec.to_builtins(value))  # without defaults, which would fill a page
        case dict():
            return "{" + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case bool() | int():
            return json.dumps(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return str(value)  # numbers, dates and times, which TOML and Python write in the same way


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)
