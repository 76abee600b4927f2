"""Inter-token latencies of a stream, as this reader saw them: a sparkline, p50 and p99."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokengrpc.cli.sparkline import bars_for, sparkline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(slots=True)
class Latencies:
    """Times between tokens, in seconds. Tokens that arrive in one message have no time between them."""

    clock: Callable[[], float] = time.monotonic
    seconds: list[float] = field(default_factory=list)
    _last: float | None = None

    def record(self, token_count: int) -> None:
        """Records a message that has arrived with so many tokens."""
        if not token_count:
            return
        now = self.clock()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self.seconds.extend([0.0] * (token_count - 1))
        self._last = now

    def text(self, width: int, encoding: str) -> str:
        """Formats a sparkline of at most `width` columns above a line of figures.

        In an encoding without block characters, the bars are ASCII characters.
        """
        if not self.seconds:
            return "inter-token latency: there are no two tokens to measure"
        ordered = sorted(self.seconds)
        figures = [
            f"{name} {seconds * 1e3:.1f} ms"
            for name, seconds in (
                ("p50", _percentile(ordered, 50)),
                ("p99", _percentile(ordered, 99)),
                ("max", ordered[-1]),
            )
        ]
        bars = sparkline(self.seconds, width, bars_for(encoding))
        return f"{bars}\ninter-token latency: {', '.join(figures)}"


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Returns the smallest value that is at least as large as `percent` of the values (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
