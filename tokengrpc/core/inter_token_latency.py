"""Inter-token latency of an engine: the time from one batch of output to the next, counted by its length."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
"""Upper bounds of the ranges of times, in seconds; a last range has no upper bound."""

_BOUNDS_NS = tuple(round(bound * 1e9) for bound in BOUNDS)


class InterTokenLatency:
    """Number of times in each range of `BOUNDS`, over all generations, and their sum.

    Adding one takes no lock and makes no object that is kept. Other threads may read.
    """

    __slots__ = ("_counts", "_sum_ns")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum_ns = 0

    def add(self, nanoseconds: int) -> None:
        """Counts a time."""
        self._counts[bisect_left(_BOUNDS_NS, nanoseconds)] += 1
        self._sum_ns += nanoseconds

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of times in each range."""
        return tuple(self._counts)

    @property
    def seconds(self) -> float:
        """The sum of all times."""
        return self._sum_ns / 1e9
