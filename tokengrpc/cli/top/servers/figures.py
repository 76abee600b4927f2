"""Figures of all servers together, and of each model, engine and server."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from tokengrpc.cli.top.servers import series
from tokengrpc.cli.top.servers.quantiles import histogram_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tokengrpc.cli.top.servers.history import History, Part

KINDS = {
    "calls": series.CALL_ERRORS,
    "generations": series.FAILED,
    "engine_calls": series.ENGINE_ERRORS,
    "streams": series.STREAM_FAILURES,
}
"""What fails with a reason, and the metric that counts it."""
_KIND_OF = {metric: kind for kind, metric in KINDS.items()}


def _sums() -> defaultdict[str, float]:
    return defaultdict(float)


@dataclass(slots=True)
class Figures:
    """Figures of a group of series: values of gauges now, and what counters counted within a window.

    `rates` are per second. `buckets` has, for each histogram, the observations up to each bound. `errors` has
    the counts of each kind by reason. `unready` is the number of models that are not ready, on each server.
    """

    gauges: dict[str, float] = field(default_factory=_sums)
    counts: dict[str, float] = field(default_factory=_sums)
    rates: dict[str, float] = field(default_factory=_sums)
    buckets: dict[str, dict[float, float]] = field(default_factory=dict)
    breakers: dict[str, float] = field(default_factory=_sums)
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    unready: int = 0

    def count(self, name: str) -> int:
        """Returns what a counter counted, rounded where only a part of a step is within the window."""
        return round(self.counts.get(name, 0.0))

    def gauge(self, name: str) -> int:
        """Returns the value of a gauge that is a number of things."""
        return round(self.gauges.get(name, 0.0))

    @property
    def cancelled(self) -> int:
        """Generations that a caller cancelled, or whose last reader left."""
        return round(self.errors.get("CANCELLED", {}).get("generations", 0.0))

    @property
    def failed(self) -> int:
        """Generations that ended with an error, without those that were cancelled."""
        return self.count(series.FAILED) - self.cancelled

    def quantile(self, histogram: str, quantile: float) -> float | None:
        """Returns a quantile of a histogram in seconds, or None if nothing was observed."""
        return histogram_quantile(quantile, self.buckets.get(histogram, {}))

    def add_gauge(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Adds the value of a gauge."""
        if name == series.BREAKER_STATE:
            self.breakers[labels["state"]] += value
        elif name == series.MODEL_READY:
            self.unready += not value
        else:
            self.gauges[name] += value

    def add_counter(self, name: str, labels: Mapping[str, str], increase: float, seconds: float) -> None:
        """Adds the increase of a counter within some seconds."""
        if "le" in labels:
            buckets = self.buckets.setdefault(name, defaultdict(float))
            buckets[float(labels["le"])] += increase
            return
        self.counts[name] += increase
        self.rates[name] += increase / seconds
        if kind := _KIND_OF.get(name):
            self.errors.setdefault(labels["reason"], _sums())[kind] += increase


@dataclass(slots=True)
class ModelFigures(Figures):
    """Figures of a model and, by name, of its engines."""

    engines: dict[str, Figures] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """Figures within a window. `seconds` is how much of it was observed; None if nothing was."""

    seconds: float | None = None
    total: Figures = field(default_factory=Figures)
    models: dict[str, ModelFigures] = field(default_factory=dict)
    servers: list[Figures] = field(default_factory=list)

    def groups(self, server: Figures, labels: Mapping[str, str]) -> Iterator[Figures]:
        """Yields the groups that a series of a server belongs to."""
        yield self.total
        yield server
        if name := labels.get("model"):
            model = self.models.setdefault(name, ModelFigures())
            yield model
            if engine := labels.get("engine"):
                yield model.engines.setdefault(engine, Figures())


def report(histories: Sequence[History], window: Callable[[History], Iterable[Part]]) -> Report:
    """Adds up what servers show now, and what they counted within a window."""
    made = Report()
    observed = []
    for history in histories:
        server = Figures()
        made.servers.append(server)
        gauges = history.sample.gauges if history.sample is not None else {}
        for key, value in gauges.items():
            name, labels = _labelled(key)
            for group in made.groups(server, labels):
                group.add_gauge(name, labels, value)
        increases, seconds = _increases(window(history))
        for key, increase in increases.items():
            name, labels = _labelled(key)
            for group in made.groups(server, labels):
                group.add_counter(name, labels, increase, seconds)
        if seconds:
            observed.append(seconds)
    if observed:
        made.seconds = fmean(observed)
    return made


def _labelled(key: series.Series) -> tuple[str, dict[str, str]]:
    name, values = key
    return name, dict(zip(series.KEPT[name], values, strict=True))


def _increases(parts: Iterable[Part]) -> tuple[Mapping[series.Series, float], float]:
    """Returns what counters counted in parts of steps, and the length of these in seconds."""
    increases: dict[series.Series, float] = defaultdict(float)
    seconds = 0.0
    for part in parts:
        seconds += part.seconds
        for key, increase in part.step.increases.items():
            increases[key] += increase * part.share
    return increases, seconds
