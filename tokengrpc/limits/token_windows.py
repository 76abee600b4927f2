"""Tokens in any minute: sums by second, from which a reservation can be returned.

The moving window of the library `limits` keeps an entry for each token, and cannot return any.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class TokenWindows(Protocol):
    """Windows of tokens, by key. A second counts until all of it is older than the window."""

    async def take(self, key: str, limit: int, amount: int) -> tuple[float, int]:
        """Counts tokens, unless more than `limit` would be in the window. All fit into an empty window.

        Returns in how many seconds they fit, 0 if they were counted; and the second in which they were.
        """

    async def correct(self, key: str, second: int, change: int) -> None:
        """Adds to what was counted in a second, or returns a part of it."""


class MemoryTokenWindows:
    """Token windows of one process."""

    def __init__(self, seconds: int, clock: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._clock = clock
        self._windows: OrderedDict[str, dict[int, int]] = OrderedDict()

    async def take(self, key: str, limit: int, amount: int) -> tuple[float, int]:
        """See `TokenWindows`."""
        now = self._clock()
        window = self._windows.setdefault(key, {})
        self._windows.move_to_end(key)
        self._forget(now)
        for second in [second for second in window if self._end(second) <= now]:
            del window[second]
        excess = sum(window.values()) + amount - limit
        current = math.floor(now)
        if excess <= 0 or not any(count > 0 for count in window.values()):
            window[current] = window.get(current, 0) + amount
            return 0.0, current
        for second in sorted(window):
            excess -= window[second]
            if excess <= 0:
                return self._end(second) - now, current
        return self._end(max(window)) - now, current

    async def correct(self, key: str, second: int, change: int) -> None:
        """See `TokenWindows`."""
        window = self._windows.get(key)
        if window is not None and second in window:
            window[second] = max(0, window[second] + change)

    def _end(self, second: int) -> float:
        """Returns when a second has left the window."""
        return second + 1.0 + self._seconds

    def _forget(self, now: float) -> None:
        """Drops windows that have not been used for a while."""
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if any(self._end(second) > now for second in window) or len(self._windows) == 1:
                return
            del self._windows[key]
