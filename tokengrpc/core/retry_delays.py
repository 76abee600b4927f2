"""Delays for rejected callers, which come back one after another as places become free. No clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_DELAY = 0.25
MAX_DELAY = 30.0
"""Bounds of a delay in seconds, before jitter."""

_JITTER = 0.25


class RetryDelays:
    """Virtual queue of rejected callers: each gets the next turn, `1 / rate` after the previous one.

    Whether they come back is unknown, so the queue empties by time alone.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Takes a source of random numbers from 0 to 1."""
        self._jitter = jitter
        self._last_turn = 0.0

    def next(self, now: float, rate: float) -> float:
        """Returns a delay in seconds. `rate` is the number of callers a second that can be admitted."""
        turn = max(self._last_turn, now + MIN_DELAY) + 1 / rate
        longest = now + MAX_DELAY
        self._last_turn = min(turn, longest)
        if turn < longest:
            return (turn - now) * (1 - _JITTER + 2 * _JITTER * self._jitter())
        # More callers than turns: they are spread over most of the longest delay.
        return MAX_DELAY * (_JITTER + (1 - _JITTER) * self._jitter())
