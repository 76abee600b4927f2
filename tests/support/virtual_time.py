"""An event loop whose clock moves only when a test advances it, so that the test controls every timer."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque

# More iterations than any step of a test needs. Tasks that use them all wake each other endlessly.
_MAX_ITERATIONS = 1_000

# Seconds per iteration. As on a real loop, the clock has moved when code reads it a second time.
_ITERATION_SECONDS = 1e-7


class _NeverWaits(selectors.SelectSelector):
    """A selector that never blocks, because nothing outside the test wakes the loop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is `now`.

    `run` and `advance` return when no task can proceed before the clock advances.
    """

    # Attributes of asyncio.BaseEventLoop that typeshed does not list.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__(_NeverWaits())
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def run(self) -> None:
        """Runs every task until it waits."""
        self.run_until_complete(self._settle())

    def advance(self, seconds: float) -> None:
        """Advances the clock by so many seconds, and runs the timers that fall due in order."""
        target = self.now + seconds
        self.run()
        while (due := self._next_timer()) is not None and due <= target:
            self.now = max(self.now, due)
            self.run()
        self.now = max(self.now, target)
        self.run()

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that have neither fired nor been cancelled."""
        return [timer for timer in self._scheduled if not timer.cancelled()]

    def _next_timer(self) -> float | None:
        return min((timer.when() for timer in self.timers), default=None)

    async def _settle(self) -> None:
        for _ in range(_MAX_ITERATIONS):
            await asyncio.sleep(0)
            self.now += _ITERATION_SECONDS
            if not self._ready and not any(timer.when() <= self.now for timer in self.timers):
                return
        raise AssertionError("the tasks never stop waking each other")
