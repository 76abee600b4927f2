"""A sample: the metrics page of one server at one time, reduced to what is shown."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tokengrpc.cli.top.servers.series import BUILD_INFO, COUNTERS, KEPT, START_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.cli.top.servers.series import Series


_MAX_SERIES = 50_000
"""Series that are kept, of some thousand engines. More would only keep the screen from being drawn."""
_MAX_VALUE = 2.0**63
"""More than anything that is counted or measured. Sums of such values are finite."""


class NoMetrics(Exception):
    """Page that is not the metrics page of tokengrpc. The message says what it is instead."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters and gauges of a server. `at` is when the page arrived, in seconds of a monotonic clock."""

    at: float
    counters: Mapping[Series, float]
    gauges: Mapping[Series, float]

    def gauge(self, name: str, default: float = 0.0) -> float:
        """Returns the value of a gauge without labels."""
        return self.gauges.get((name, ()), default)

    def follows(self, other: Sample) -> bool:
        """Returns whether the same process made both samples, `other` before this one.

        If not, the server was started again, and its counters began at 0.
        """
        return self.gauge(START_TIME) == other.gauge(START_TIME) and all(
            self.counters.get(series, 0.0) >= value for series, value in other.counters.items()
        )


def parse(text: str, at: float) -> Sample:
    """Reads a page in Prometheus' text format. Raises NoMetrics."""
    counters: Counter[Series] = Counter()
    gauges: Counter[Series] = Counter()
    try:
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                if (kept := KEPT.get(name)) is not None:
                    if not abs(value) <= _MAX_VALUE or math.isnan(float(labels.get("le", 0))):
                        raise NoMetrics("its metrics have a value that is no number, or too large")
                    values = counters if name in COUNTERS else gauges
                    values[name, tuple(labels.get(label, "") for label in kept)] += value  # type: ignore[assignment]  # a float
            if len(counters) + len(gauges) > _MAX_SERIES:
                raise NoMetrics(f"its metrics have more than {_MAX_SERIES} series")
    except (ValueError, KeyError, IndexError):
        raise NoMetrics("its page is not in Prometheus' text format") from None
    if not any(name == BUILD_INFO for name, _ in gauges):
        raise NoMetrics("its metrics are not those of tokengrpc")
    return Sample(at, counters, gauges)
