"""An event loop whose time stands still until a test moves it: every timer of the core is driven by hand."""

from __future__ import annotations

import asyncio
import selectors

# More turns than any step of a test needs: whoever takes them is running in a circle.
_MOST_TURNS = 1_000

# What a turn takes: who looks at the clock again finds that it has gone on, as everywhere.
_TURN_SECONDS = 1e-7


class _NeverWaits(selectors.SelectSelector):
    """Nothing outside the test wakes the loop, so it need not look."""

    def select(self, timeout=None):
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time` is `now`; `run` and `advance` return when nothing can happen before time goes on."""

    def __init__(self) -> None:
        super().__init__(_NeverWaits())
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def run(self) -> None:
        """Lets every task run as far as it can."""
        self.run_until_complete(self._settle())

    def advance(self, seconds: float) -> None:
        """Lets time pass, from timer to timer."""
        target = self.now + seconds
        self.run()
        while (due := self._next_timer()) is not None and due <= target:
            self.now = max(self.now, due)
            self.run()
        self.now = max(self.now, target)
        self.run()

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that are still to fire."""
        return [timer for timer in self._scheduled if not timer.cancelled()]

    def _next_timer(self) -> float | None:
        return min((timer.when() for timer in self.timers), default=None)

    async def _settle(self) -> None:
        for _ in range(_MOST_TURNS):
            await asyncio.sleep(0)
            self.now += _TURN_SECONDS
            if not self._ready and not any(timer.when() <= self.now for timer in self.timers):
                return
        raise AssertionError("the tasks never come to rest")
