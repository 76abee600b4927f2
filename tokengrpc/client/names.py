"""The contract's enum values as people read them: without the prefix."""

from __future__ import annotations

from typing import Protocol


class Enum(Protocol):
    """What protobuf generates for an enum."""

    def Name(self, number: int) -> str:  # noqa: N802 - protobuf's own name
        """The value's name. Raises ValueError for a number that it does not have."""


def short_name(enum: Enum, number: int, prefix: str) -> str:
    """The name of a value; the number of one that only a newer server knows."""
    try:
        return enum.Name(number).removeprefix(prefix)
    except ValueError:
        return str(number)
