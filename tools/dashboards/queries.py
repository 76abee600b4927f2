"""PromQL over the metrics of tokengrpc, filtered by the variables of a dashboard.

Names and labels are those of `tokengrpc.telemetry.metric_table`: another one is a KeyError.
"""

from __future__ import annotations

import re
from typing import Final

from tokengrpc.telemetry import metric_table

SERVER: Final = ("job", "instance")
"""Labels that Prometheus gives to each series of a server."""

FILTERED: Final = (*SERVER, "model", "engine", "tenant")
"""Labels that are variables of each dashboard."""

_PROCESS = ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds")
_LABELS: Final = {
    **{metric.name: metric.labels for metric in (*metric_table.COUNTED, *metric_table.READ)},
    **{f"process_{name}": () for name in _PROCESS},
}

_ENDS = ("_bucket", "_sum", "_count")


class Not(str):
    """Value that a label may not have."""

    __slots__ = ()


def select(name: str, **exact: str) -> str:
    """Returns the series of a metric that the variables choose, and that have the `exact` labels."""
    labels = _labels(name, *exact)
    chosen = [f'{label}=~"${label}"' for label in FILTERED if label in labels]
    chosen += [f'{label}{"!=" if isinstance(v, Not) else "="}"{v}"' for label, v in exact.items()]
    return name + _matched(chosen)


def values(label: str, name: str) -> str:
    """Returns the query of a variable: the values of a label, of the series that earlier variables choose."""
    later = FILTERED[FILTERED.index(label) :]
    matchers = re.findall(r"{(.*)}", select(name))[0].split(",")
    earlier = [matcher for matcher in matchers if matcher.partition("=")[0] not in later]
    return f"label_values({name}{_matched(earlier)}, {label})"


def total(name: str, *by: str, **exact: str) -> str:
    """Returns the sum of a gauge, by labels."""
    return f"{_aggregated('sum', name, by)}({select(name, **exact)})"


def lowest(name: str, *by: str, **exact: str) -> str:
    """Returns the least of a gauge, by labels."""
    return f"{_aggregated('min', name, by)}({select(name, **exact)})"


def highest(name: str, *by: str, **exact: str) -> str:
    """Returns the most of a gauge, by labels."""
    return f"{_aggregated('max', name, by)}({select(name, **exact)})"


def rate(name: str, *by: str, **exact: str) -> str:
    """Returns the sum of a counter's increase a second, by labels."""
    return f"{_aggregated('sum', name, by)}(rate({select(name, **exact)}[$__rate_interval]))"


def quantile(share: float, name: str, *by: str) -> str:
    """Returns a quantile of a histogram, by labels."""
    return f"histogram_quantile({share}, {rate(f'{name}_bucket', *by, 'le')})"


def _matched(matchers: list[str]) -> str:
    return f"{{{','.join(matchers)}}}" if matchers else ""


def _labels(name: str, *needed: str) -> tuple[str, ...]:
    """Returns the labels of a metric. Raises KeyError if it, or a needed label, does not exist."""
    labels = next(
        (_LABELS[family] for end in ("", *_ENDS) if (family := name.removesuffix(end)) in _LABELS), None
    )
    if labels is None or not {*needed} <= {*SERVER, *labels, "le"}:
        raise KeyError(f"{name} with {needed}")
    return (*SERVER, *labels)


def _aggregated(how: str, name: str, by: tuple[str, ...]) -> str:
    _labels(name, *by)
    return f"{how} by ({', '.join(by)}) " if by else how
