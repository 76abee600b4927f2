"""Cases of the alert on the error budget: for each pair of ranges, both sides of each of its bounds."""

from __future__ import annotations

from dataclasses import dataclass

from tests.deploy.alert_series import MODEL, Case, Series, ended


@dataclass(frozen=True, kw_only=True)
class _Ranges:
    """A pair of ranges. Each step has `each` generations; the values are how many of them fail."""

    long: str
    short: str
    severity: str
    step: int
    """Minutes."""
    steps: int
    """Somewhat more than the longer range."""
    last: int
    """Steps of the shorter range, and one more."""
    each: int
    above: int
    below: int
    far_below: int
    far_above: int

    def case(self, name: str, quiet: Series, fires: Series | None = None) -> Case:
        """Returns a case: with `quiet` the alert does not fire, with `fires` it does."""
        return Case(
            id=f"{self.long}, {name}",
            alert="TokengrpcErrorBudgetBurn",
            severity=self.severity,
            labels=MODEL | {"reason": "ENGINE_LOST", "long": self.long, "short": self.short},
            minutes=self.steps * self.step,
            step=self.step,
            fires=fires or self.failing(self.above, self.above),
            quiet=quiet,
        )

    def failing(self, first: int, then: int, reason: str = "ENGINE_LOST") -> Series:
        """Returns ends of which `first` of each step fail, and `then` in the shorter range."""
        begin = self.steps - self.last

        def counter(before: int, after: int) -> str:
            return f"0+{before}x{begin} {before * begin + after}+{after}x{self.last - 1}"

        return ended(counter(self.each - first, self.each - then), counter(first, then), reason)

    def cases(self) -> list[Case]:
        """Returns the cases that all pairs have."""
        no_failures = ended("0+90x150", "7x150")
        return [
            self.case("few", self.failing(self.below, self.below)),
            self.case("no longer", self.failing(self.far_above, self.below)),
            self.case("for a moment", self.failing(self.far_below, self.far_above)),
            self.case("cancelled", self.failing(self.above, self.above, "CANCELLED")),
            self.case("another reason", no_failures | self.failing(self.above, self.above, "INTERNAL")),
        ]


_FAST = _Ranges(
    long="1h",
    short="5m",
    severity="critical",
    step=1,
    steps=62,
    last=6,
    each=100,
    above=9,
    below=6,
    far_below=2,
    far_above=25,
)
_SLOW = _Ranges(
    long="6h",
    short="30m",
    severity="critical",
    step=5,
    steps=75,
    last=7,
    each=100,
    above=4,
    below=2,
    far_below=1,
    far_above=8,
)
_STEADY = _Ranges(
    long="3d",
    short="6h",
    severity="warning",
    step=30,
    steps=146,
    last=13,
    each=1000,
    above=7,
    below=4,
    far_below=2,
    far_above=15,
)

ERROR_BUDGET_CASES = (
    *_FAST.cases(),
    _FAST.case("a handful", ended("0+0x62", "0x56 1+1x5"), fires=ended("0+0x62", "0x46 1+1x15")),
    *_SLOW.cases(),
    _SLOW.case("a handful", ended("0+0x75", "0x69 1+1x5"), fires=ended("0+0x75", "0x59 1+1x15")),
    *_STEADY.cases(),
    _STEADY.case("a handful", ended("0+0x146", "0x140 1+1x5"), fires=ended("0+0x146", "0x130 1+1x15")),
)
