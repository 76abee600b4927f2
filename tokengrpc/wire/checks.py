"""Collection of the violations in a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

V = TypeVar("V")


class Checks:
    """Violations so far: pairs of a field path and the mistake in that field."""

    def __init__(self) -> None:
        self.violations: list[tuple[str, str]] = []

    def that(self, holds: object, path: str, rule: str) -> bool:
        """Adds a violation of a rule unless it holds. Returns whether it holds."""
        if not holds:
            self.violations.append((path, rule))
        return bool(holds)

    def done(self) -> None:
        """Raises InvalidRequest if there are violations."""
        if self.violations:
            raise InvalidRequest(self.violations)

    def bounds(self, path: str, value: float, least: float, most: float) -> None:
        """Checks that a number is within bounds; NaN is not."""
        self.that(least <= value <= most, path, f"must be {_number(least)} to {_number(most)}")

    def enum(self, path: str, value: int, known: Mapping[int, V]) -> V | None:
        """Checks that an enum number is known. Returns its value in the mapping, None if unknown."""
        self.that(value in known, path, f"{value} is not a value that this server knows for this enum")
        return known.get(value)

    def duration(
        self,
        path: str,
        message: Any,  # noqa: ANN401 - any message with the field
        *,
        zero: bool = False,
    ) -> float | None:
        """Checks that a Duration field is valid and positive, or `zero`. Returns seconds, None if unset."""
        name = path.rpartition(".")[2]
        if not message.HasField(name):
            return None
        value = getattr(message, name)
        positive = value.seconds >= 0 and 0 <= value.nanos < 10**9 and (zero or value.seconds or value.nanos)
        self.that(positive, path, f"must be a {'duration of 0 or more' if zero else 'positive duration'}")
        self.that(value.seconds <= 10 * 366 * 86400, path, "must be at most ten years")
        return float(value.seconds) + float(value.nanos) / 1e9


def _number(value: float) -> str:
    return "above 0" if value == 1e-12 else f"{value:g}" if abs(value) < 1e6 else str(int(value))
