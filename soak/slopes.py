"""Whether a series of samples grows: the slope of a line by least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SHARE: Final = 0.1
"""Growth that may be chance, as a share of the mean."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Samples of one figure at some times, in seconds. `slack` is the growth that is always allowed."""

    name: str
    slack: float
    times: list[float]
    values: list[float]

    @property
    def slope(self) -> float:
        """The growth per second of the line that fits best. Zero for fewer than two samples."""
        if len(self.times) < 2:
            return 0.0
        middle = sum(self.times) / len(self.times)
        mean = sum(self.values) / len(self.values)
        spread = sum((time - middle) ** 2 for time in self.times)
        pairs = zip(self.times, self.values, strict=True)
        return sum((time - middle) * (value - mean) for time, value in pairs) / spread

    @property
    def growth(self) -> float:
        """The growth of that line from the first sample to the last."""
        return self.slope * (self.times[-1] - self.times[0]) if self.times else 0.0

    @property
    def bound(self) -> float:
        """The largest growth that is not a leak."""
        mean = sum(self.values) / len(self.values) if self.values else 0.0
        return self.slack + _SHARE * mean

    @property
    def grows(self) -> bool:
        """Whether the figure has grown by more than its bound."""
        return self.growth > self.bound
