"""Garbage collection of a server process, in portions so small that no stream can notice them."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_MIDDLE_EVERY = 4
"""Young collections per middle one, which looks at some thousand objects then: a few milliseconds."""
_NEVER = 2**31 - 1
_INTERVAL = 1.0
"""Seconds between two looks at whether a full collection is due."""
_SWEEP_INTERVAL = 0.1
"""Seconds between two looks at whether a young collection is due."""
_SWEPT_GENERATIONS = 16
"""New generations after which it is: some thousand objects, which take about a millisecond."""
_LEAST_WORK = 10
"""Middle collections after which an idle server makes a full one: without new objects, it finds nothing."""
_GROWTH_BLOCKS = 4_000_000
"""Growth, in Python's memory blocks, after which a full collection is made under load: some 400 MB."""

log = structlog.get_logger(__name__)


class Collector:
    """Garbage collections of the process, made when they disturb least instead of when Python would.

    Python counts allocations less deallocations. A server that has as many ended generations as it keeps
    frees as much as it makes, so Python's young collections are rare then, and each looks at all objects
    since the one before: up to 50 ms for a thousand generations. So they are made after a number of
    generations, too.

    A full collection stops every stream for about a microsecond per object, so with thousands of streams for
    hundreds of milliseconds. It frees nothing of tokengrpc, whose objects form no reference cycles
    (`tests/generations/test_reference_cycles.py`), but what libraries and plugins may leave. So while
    generations run, it is made only if memory has grown so much that something must be leaking.
    """

    def __init__(
        self,
        running: Callable[[], int],
        admitted: Callable[[], int],
        *,
        interval: float = _INTERVAL,
        sweep_interval: float = _SWEEP_INTERVAL,
        growth_blocks: int = _GROWTH_BLOCKS,
    ) -> None:
        """Takes the numbers of running generations and of all so far. Intervals are in seconds."""
        self._running = running
        self._admitted = admitted
        self._interval = interval
        self._sweep_interval = sweep_interval
        self._growth_blocks = growth_blocks
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._seen = -1  # generations at the last look
        self._swept = self._sweeps = 0
        self._work = self._blocks = 0

    def start(self) -> None:
        """Excludes all objects that exist now from collections, and takes full ones over from Python."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(gc.get_threshold()[0], _MIDDLE_EVERY, _NEVER)
        self._note()
        self._again(self._look, self._interval)
        self._again(self._sweep, self._sweep_interval)

    def stop(self) -> None:
        """Makes no more collections."""
        for timer in self._timers.values():
            timer.cancel()

    def _again(self, look: Callable[[], None], interval: float) -> None:
        self._timers[look] = asyncio.get_running_loop().call_later(interval, look)

    def _sweep(self) -> None:
        admitted = self._admitted()
        if admitted - self._swept >= _SWEPT_GENERATIONS:
            self._swept = admitted
            self._sweeps += 1
            gc.collect(0 if self._sweeps % _MIDDLE_EVERY else 1)
        self._again(self._sweep, self._sweep_interval)

    def _look(self) -> None:
        # Between two short generations a busy server runs none, too.
        seen = self._admitted()
        idle = not self._running() and seen == self._seen
        if idle and _middle_collections() - self._work >= _LEAST_WORK:
            self._collect()
        elif sys.getallocatedblocks() - self._blocks > self._growth_blocks:
            seconds, freed = self._collect()
            log.warning(
                "memory has grown so much that garbage was collected under load, which stopped all streams:"
                " if it happens again and again, a plugin leaves reference cycles",
                seconds=round(seconds, 3),
                freed_objects=freed,
            )
        self._seen = seen
        self._again(self._look, self._interval)

    def _collect(self) -> tuple[float, int]:
        """Makes a full collection. Returns the seconds it took, and the number of objects it has freed."""
        began = time.perf_counter()
        freed = gc.collect()
        self._note()
        return time.perf_counter() - began, freed

    def _note(self) -> None:
        self._work, self._blocks = _middle_collections(), sys.getallocatedblocks()


def _middle_collections() -> int:
    return int(gc.get_stats()[1]["collections"])
