"""A number of events that fades. No clock: the times are passed in."""

from __future__ import annotations

import math


class Decaying:
    """Number of events, each of which counts less the longer ago it was."""

    def __init__(self, memory: float) -> None:
        """`memory` is the time, in seconds, after which an event counts 1/e."""
        self._memory = memory
        self._sum = 0.0
        self._at = 0.0

    def at(self, now: float) -> float:
        """Returns the number at a time that is not before the last one."""
        return self._sum * math.exp((self._at - now) / self._memory)

    def change(self, change: int, happened: float, now: float) -> None:
        """Adds an event, or removes one that was added."""
        counts = math.exp((happened - now) / self._memory)
        self._sum, self._at = max(0.0, self.at(now) + change * counts), now
