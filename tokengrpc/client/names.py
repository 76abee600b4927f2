"""Names of the contract's enum values without their prefix, for people."""

from __future__ import annotations

from typing import Protocol


class Enum(Protocol):
    """Enum class as protobuf generates it."""

    def Name(self, number: int) -> str:  # noqa: N802 - protobuf's own name
        """Returns the name of a value. Raises ValueError for an unknown number."""


def short_name(enum: Enum, number: int, prefix: str) -> str:
    """Returns the name of a value without `prefix`, or its number if only a newer server knows the value."""
    try:
        return enum.Name(number).removeprefix(prefix)
    except ValueError:
        return str(number)
