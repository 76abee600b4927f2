"""The one clock, and the system's as one that never goes back."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """One clock for everything."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch; never goes back within a process."""


class SystemClock:
    """The wall clock as of start, carried on by the monotonic one."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch; never goes back within a process."""
        return self._offset + time.monotonic_ns()
