"""Probe of the event loop: how late it runs a timer, and what its thread got of a core."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.capacity import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 0.05
"""Seconds between two measurements."""

_SCHEDULER = "/proc/thread-self/schedstat"
"""Linux: the thread's time on a core, and its time in the queue for one, in nanoseconds."""

log = structlog.get_logger(__name__)


class LoopProbe:
    """Timer that measures the loop on whose thread it is started."""

    def __init__(self, measured: Callable[[Measurement], None]) -> None:
        """Takes the receiver of the measurements. If it raises, that is logged, once until it works again."""
        self._measured = measured
        self._failing = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._file: int | None = None
        self._last = (0.0, 0.0, 0.0)
        self.lag = 0.0
        """Seconds by which the last measurement was late."""

    def start(self) -> None:
        """Starts measuring."""
        with suppress(OSError):
            self._file = os.open(_SCHEDULER, os.O_RDONLY | os.O_CLOEXEC)
        self._last = self._clocks()
        self._schedule()

    def stop(self) -> None:
        """Stops measuring. Further calls have no effect."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def overdue(self) -> float:
        """Returns how long, in seconds, a measurement has been due: most of the length of this turn."""
        return 0.0 if self._timer is None else max(0.0, asyncio.get_running_loop().time() - self._due)

    def heartbeat_age(self) -> float:
        """Returns the seconds since the last measurement; 0 unless it measures. For any thread."""
        return 0.0 if self._timer is None else time.monotonic() - self._last[0]

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + INTERVAL
        self._timer = loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        self.lag = lag = self.overdue()
        clocks = self._clocks()
        elapsed, cpu, waited = (new - old for new, old in zip(clocks, self._last, strict=True))
        self._last = clocks
        self._schedule()
        try:
            self._measured(Measurement(elapsed=elapsed, lag=lag, cpu=cpu, waited=waited))
        except Exception:
            if not self._failing:
                log.exception("a measurement of the event loop could not be used; there may be more")
            self._failing = True
        else:
            self._failing = False

    def _clocks(self) -> tuple[float, float, float]:
        """Returns the time, the thread's CPU time, and its wait for a core; 0 where that is unknown."""
        waited = int(os.pread(self._file, 128, 0).split()[1]) / 1e9 if self._file is not None else 0.0
        return time.monotonic(), time.thread_time(), waited
