"""Collects what is wrong with a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

V = TypeVar("V")


class Checks:
    """Violations so far: pairs of a field's path and what is wrong with it."""

    def __init__(self) -> None:
        self.violations: list[tuple[str, str]] = []

    def that(self, holds: object, path: str, what: str) -> bool:
        """Notes a violation unless something holds; answers whether it does."""
        if not holds:
            self.violations.append((path, what))
        return bool(holds)

    def bounds(self, path: str, value: float, least: float, most: float) -> None:
        """A number must be within bounds (and so be one)."""
        self.that(least <= value <= most, path, f"must be {_number(least)} to {_number(most)}")

    def enum(self, path: str, value: int, known: Mapping[int, V]) -> V | None:
        """An enum's number must be known; answers what the mapping says of it."""
        self.that(value in known, path, f"{value} is no value of this enum that this server knows")
        return known.get(value)

    def duration(self, path: str, message: Any) -> float | None:  # noqa: ANN401 - any message with the field
        """Seconds of a Duration field, None when unset; must be positive and one that protobuf allows."""
        name = path.rpartition(".")[2]
        if not message.HasField(name):
            return None
        value = getattr(message, name)
        positive = value.seconds >= 0 and 0 <= value.nanos < 10**9 and (value.seconds or value.nanos)
        self.that(positive, path, "must be a positive duration")
        self.that(value.seconds <= 10 * 366 * 86400, path, "must be at most ten years")
        return float(value.seconds) + float(value.nanos) / 1e9


def _number(value: float) -> str:
    return "above 0" if value == 1e-12 else f"{value:g}" if abs(value) < 1e6 else str(int(value))
