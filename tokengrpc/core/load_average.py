"""Averages of a server's load over the last seconds. No clock: the times are passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = 5.0
"""Time constant in seconds: what happened this long ago counts 1/e."""


class Quantity(Enum):
    """What is averaged: the average of a count is a rate per second, that of seconds a share of the time."""

    REQUESTS = auto()
    ERRORS = auto()
    TOKENS = auto()
    CPU_SECONDS = auto()
    UTILIZED_SECONDS = auto()


class LoadAverage:
    """Sums of quantities and of the time, which fade alike.

    All averages have the same weights. So a ratio of two of them, such as requests per utilization, is right
    from the first measurement on, although each may still rise.
    """

    def __init__(self) -> None:
        self._sums = dict.fromkeys(Quantity, 0.0)
        self._seconds = 0.0

    def add(self, quantity: Quantity, amount: float = 1.0) -> None:
        """Adds what has happened since the time last passed."""
        self._sums[quantity] += amount

    def elapse(self, seconds: float) -> None:
        """Lets time pass. What was added before counts as having happened in it."""
        self._seconds += seconds
        kept = math.exp(-seconds / MEMORY)
        self._seconds *= kept
        for quantity in self._sums:
            self._sums[quantity] *= kept

    def rate(self, quantity: Quantity) -> float:
        """Returns the average per second; 0 before any time has passed."""
        return self._sums[quantity] / self._seconds if self._seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Load of a server for clients that balance by it. Utilizations are fractions; rates are per second."""

    application_utilization: float
    cpu_utilization: float
    memory_utilization: float
    requests: float
    errors: float
    named: Mapping[str, float] = field(default_factory=dict)
    """Further figures, by name."""
