"""Metrics that are read from a server's status whenever somebody asks for them."""

from __future__ import annotations

import platform
from itertools import accumulate
from typing import TYPE_CHECKING

import grpc
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from tokengrpc import __version__
from tokengrpc.core.breaker import BreakerState
from tokengrpc.generations.status import Phase
from tokengrpc.telemetry import metric_table as table
from tokengrpc.telemetry.memory_limit import memory_limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from tokengrpc.generations.status import EngineStatus, ServerStatus


class StatusMetrics(Collector):
    """Collector of the metrics in `metric_table.READ`."""

    def __init__(self, status: ServerStatus) -> None:
        self._status = status
        self._memory_limit = memory_limit()

    def collect(self) -> Iterator[Metric]:
        """Reads all metrics."""
        status = self._status
        yield _gauge(table.GENERATIONS, {(): status.generations})
        yield _gauge(table.MAX_GENERATIONS, {(): status.max_generations})
        yield _counter(table.REJECTIONS, {(cause,): count for cause, count in status.rejections.items()})
        yield _gauge(table.CORE_WAIT, {(): status.core_wait})
        yield _gauge(table.CORE_FORECAST, {(): status.core_forecast})
        yield _gauge(table.LOG_BYTES, {(): status.log_bytes})
        yield _gauge(table.MAX_LOG_BYTES, {(): status.max_log_bytes})
        yield _gauge(table.MEMORY_LIMIT, {} if self._memory_limit is None else {(): self._memory_limit})
        yield _counter(table.LOG_LINES_DROPPED, {(): status.dropped_log_lines()})
        yield _counter(table.SPANS_DROPPED, {(): status.dropped_spans()})
        end = status.certificate_end()
        yield _gauge(table.CERTIFICATE_END, {} if end is None else {(): end})
        yield _gauge(table.LOOP_LAG, {(): status.loop_lag})
        yield _gauge(table.HEARTBEAT_AGE, {(): status.heartbeat_age})
        yield _gauge(table.DRAINING, {(): status.phase is Phase.DRAINING})
        yield _gauge(table.BUILD_INFO, {(__version__, platform.python_version(), grpc.__version__): 1})
        models = status.models()
        engines = {(model.name, engine.name): engine for model in models for engine in model.engines}
        yield _gauge(
            table.WAITING,
            {
                (model.name, priority.name.lower()): waiting
                for model in models
                for priority, waiting in model.waiting_by_priority.items()
            },
        )
        yield _gauge(table.MEMORY_ONLY, {(): status.memory_only()})
        yield _gauge(table.MODEL_READY, {(model.name,): model.ready for model in models})
        yield _gauge(table.SILENT, {labels: engine.silent_seconds for labels, engine in engines.items()})
        yield _gauge(table.RUNNING, {labels: engine.running for labels, engine in engines.items()})
        yield _gauge(
            table.BREAKER_STATE,
            {
                (*labels, state): engine.breaker is state
                for labels, engine in engines.items()
                for state in BreakerState
            },
        )
        yield _latencies(engines)


def _gauge(metric: table.Metric, values: Mapping[tuple[str, ...], float]) -> Metric:
    return _filled(GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels), values)


def _counter(metric: table.Metric, values: Mapping[tuple[str, ...], float]) -> Metric:
    return _filled(CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels), values)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[tuple[str, ...], float]
) -> Metric:
    for labels, value in values.items():
        family.add_metric(labels, float(value))
    return family


def _latencies(engines: dict[tuple[str, str], EngineStatus]) -> Metric:
    metric = table.INTER_TOKEN_LATENCY
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
    for labels, engine in engines.items():
        sums = accumulate(engine.latency_counts)
        family.add_metric(labels, list(zip(bounds, sums, strict=True)), engine.latency_seconds)
    return family
