"""Percentiles of many times, mergeable over processes, and the lag of an event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_STEP: Final = math.log(1.02)
_LEAST_S: Final = 1e-6
_LAG_EVERY_S: Final = 0.01


class Percentiles:
    """A histogram of times in seconds, accurate to 2 %."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts: Counter[int] = Counter({int(at): count for at, count in (counts or {}).items()})

    def add(self, seconds: float) -> None:
        """Adds a time."""
        self._counts[math.floor(math.log(max(seconds, _LEAST_S)) / _STEP)] += 1

    def merge(self, others: Iterable[Percentiles]) -> Percentiles:
        """Adds all times of others. Returns itself."""
        for other in others:
            self._counts.update(other._counts)  # noqa: SLF001 - of its own class
        return self

    def at(self, share: float) -> float:
        """Returns the time below which this share of all times is. Zero if there are none."""
        left = share * self._counts.total()
        for index in sorted(self._counts):
            left -= self._counts[index]
            if left <= 0:
                return math.exp((index + 0.5) * _STEP)
        return 0.0

    @property
    def counts(self) -> dict[str, int]:
        """The histogram, for JSON."""
        return {str(at): count for at, count in self._counts.items()}


class Lag:
    """How late a loop runs its timers: the part of a client's figures that is not the server's."""

    def __init__(self) -> None:
        self.times = Percentiles()

    async def watch(self) -> None:
        """Measures until it is cancelled."""
        while True:
            due = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.times.add(time.monotonic() - due)
