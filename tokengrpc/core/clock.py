"""The clock of the server, and its implementation over the system's clocks."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Source of the current time."""

    def now_ns(self) -> int:
        """Returns nanoseconds since the Unix epoch. Never decreases within a process."""


class SystemClock:
    """Clock that reads the wall clock once, at start, and then advances with the monotonic clock."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """Returns nanoseconds since the Unix epoch. Never decreases within a process."""
        return self._offset + time.monotonic_ns()
