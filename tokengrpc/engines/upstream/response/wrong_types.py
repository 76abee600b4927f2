"""Decoded JSON fields whose values do not have the type that a schema expects."""

from __future__ import annotations

from typing import Any

import msgspec


def drop_unless(type_: Any, fields: dict[str, Any], key: str) -> None:  # noqa: ANN401 - any type of msgspec's
    """Removes a field whose value does not have this type."""
    if key in fields:
        try:
            msgspec.convert(fields[key], type_, strict=False)
        except ValueError:
            del fields[key]
