"""Prometheus metrics: an observer that counts events. Nothing is counted per token."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import choose_encoder

from tokengrpc.core.model import UsageSource
from tokengrpc.core.ports.observer import (
    AttemptCause,
    AttemptEnded,
    AttemptStarted,
    BreakerChanged,
    BudgetLeased,
    CallEnded,
    CallStarted,
    EngineSwitched,
    FirstToken,
    GenerationAdmitted,
    GenerationEnded,
    GenerationMoved,
    GenerationStarted,
    StoreStateChanged,
    SubscriptionEnded,
    SubscriptionStarted,
    TokensRelayed,
)
from tokengrpc.errors import Reason
from tokengrpc.telemetry import metric_table as table
from tokengrpc.telemetry.methods import FULL_NAMES
from tokengrpc.telemetry.status_metrics import StatusMetrics
from tokengrpc.telemetry.tenants import OTHERS, TenantLabels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.generations.status import ServerStatus

_REPEATED = {AttemptCause.RETRY: table.RETRIES, AttemptCause.FAILOVER: table.FAILOVERS}
_EVENTS_AT_A_TIME = 128
"""Events that are counted together: those of a dozen generations, in a quarter of a millisecond."""
_KINDS = ("input", "output", "cached_input", "cache_write_input", "reasoning", "overhead")

log = structlog.get_logger(__name__)


class Metrics:
    """Observer with all metrics of a server. Events come from one thread; any thread may call `page`.

    Events are counted many at a time, or when somebody asks: counted alone, between other work, each costs
    several times more, because the processor's caches have lost the code and the figures meanwhile.
    """

    def __init__(self, status: ServerStatus) -> None:
        # They would double the page. This holds for the whole process.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self._registry = CollectorRegistry()
        self._tenant = TenantLabels().of
        self._metrics = {metric.name: _create(metric, self._registry) for metric in table.COUNTED}
        # Looking one up in the library takes longer.
        self._series: dict[tuple[str, ...], Any] = {}
        self._registry.register(StatusMetrics(status))
        ProcessCollector(registry=self._registry)
        self._takers: dict[type[ObserverEvent], Callable[[Any], None]] = {
            CallStarted: self._call_started,
            CallEnded: self._call_ended,
            GenerationAdmitted: self._admitted,
            GenerationStarted: self._started,
            AttemptStarted: self._attempt_started,
            AttemptEnded: self._attempt_ended,
            FirstToken: self._first_token,
            TokensRelayed: self._relayed,
            EngineSwitched: self._switched,
            GenerationEnded: self._ended,
            GenerationMoved: self._moved,
            SubscriptionStarted: self._stream_started,
            SubscriptionEnded: self._stream_ended,
            BreakerChanged: self._breaker_changed,
            BudgetLeased: self._budget_leased,
            StoreStateChanged: self._store_changed,
        }
        self._of(table.STORE_AVAILABLE, "ledger").set(1)
        self._uncounted: deque[ObserverEvent] = deque()
        self._counting = threading.Lock()

    def on_event(self, event: ObserverEvent) -> None:
        """Implements `Observer`."""
        self._uncounted.append(event)
        if len(self._uncounted) >= _EVENTS_AT_A_TIME:
            self._count()

    def page(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        self._count()
        return generate_latest(self._registry)

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """Returns all metrics in the format that an `Accept` header asks for, after its content type."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # such as for a version that is no number
            encode, content_type = choose_encoder("")
        self._count()
        return content_type, encode(self._registry)

    def _count(self) -> None:
        """Counts all events that have arrived, in their order."""
        with self._counting:
            for event in _taken(self._uncounted):
                take = self._takers.get(type(event))
                if take is not None:
                    try:
                        take(event)
                    except Exception:
                        log.exception("an event was not counted", event_type=type(event).__name__)

    def _of(self, metric: table.Metric, *labels: str) -> Any:  # noqa: ANN401 - one of three types, by the table
        key = (metric.name, *labels)
        series = self._series.get(key)
        if series is None:
            made = self._metrics[metric.name]
            self._series[key] = series = made.labels(*labels) if labels else made
        return series

    def _call_started(self, event: CallStarted) -> None:
        self._of(table.CALLS_STARTED, FULL_NAMES[event.method]).inc()

    def _call_ended(self, event: CallEnded) -> None:
        method = FULL_NAMES[event.method]
        self._of(table.CALL_DURATION, method, event.code).observe(event.seconds)
        self._of(table.SENT_BYTES, method, event.code).observe(event.sent_bytes)
        self._of(table.RECEIVED_BYTES, method, event.code).observe(event.received_bytes)
        if event.reason:
            self._of(table.CALL_ERRORS, method, event.reason).inc()
        if event.limit:
            self._of(table.LIMIT_REJECTIONS, self._tenant(event.tenant), event.limit).inc()
        if event.reason == Reason.LOG_DIVERGED:
            self._of(table.CHECKSUM_FAILURES).inc()

    def _admitted(self, event: GenerationAdmitted) -> None:
        self._of(table.ADMITTED, event.model, self._tenant(event.key.tenant)).inc()

    def _started(self, event: GenerationStarted) -> None:
        self._of(table.QUEUE_TIME, event.model, event.priority.name.lower()).observe(event.queue_seconds)

    def _first_token(self, event: FirstToken) -> None:
        self._of(table.FIRST_TOKEN_TIME, event.model).observe(event.seconds)

    def _attempt_started(self, event: AttemptStarted) -> None:
        metric = _REPEATED.get(event.cause)
        if metric is not None:
            self._of(metric, event.model, event.engine).inc()

    def _attempt_ended(self, event: AttemptEnded) -> None:
        self._of(table.ATTEMPTS, event.model, event.engine, event.outcome.lower()).inc()
        if event.error_reason:
            self._of(table.ATTEMPT_ERRORS, event.model, event.engine, event.error_reason).inc()
        elif event.outcome != "SUCCESS":
            self._of(table.ENGINE_CANCELS, event.model, event.engine).inc()
        if event.cancel_seconds is not None:
            self._of(table.CANCEL_TIME, event.model, event.engine).observe(event.cancel_seconds)

    def _relayed(self, event: TokensRelayed) -> None:
        tenant = self._tenant(event.tenant)
        self._of(table.GENERATION_TOKENS, event.model, event.engine, tenant).inc(event.count)

    def _switched(self, event: EngineSwitched) -> None:
        switch = event.switch
        labels = (event.model, switch.from_engine, switch.to_engine, switch.method.value)
        self._of(table.SWITCHES, *labels).inc()

    def _ended(self, event: GenerationEnded) -> None:
        record = event.record
        tenant = self._tenant(record.tenant)
        if record.error_reason:
            self._of(table.FAILED, record.model, tenant, record.error_reason).inc()
        elif record.finish_reason is not None:
            self._of(table.SUCCEEDED, record.model, tenant, record.finish_reason.value).inc()
        if event.timestamps.started:
            seconds = (event.timestamps.ended - event.timestamps.created) / 1e9
            self._of(table.LATENCY, record.model).observe(max(0.0, seconds))
            self._count_usage(record, tenant)

    def _moved(self, event: GenerationMoved) -> None:
        self._of(table.MOVED, event.model, self._tenant(event.key.tenant), event.reason).inc()

    def _count_usage(self, record: UsageRecord, tenant: str) -> None:
        usage = record.usage
        self._of(table.PROMPT_TOKENS, record.model, tenant).inc(usage.input)
        source = UsageSource(usage.source).name
        for kind in _KINDS:
            if count := getattr(usage, kind):
                self._of(table.USAGE, record.model, tenant, kind, source).inc(count)

    def _stream_started(self, event: SubscriptionStarted) -> None:
        self._of(table.STREAMS, event.model, event.opening.value).inc()
        self._of(table.READERS, event.model).inc()

    def _stream_ended(self, event: SubscriptionEnded) -> None:
        self._of(table.READERS, event.model).dec()
        if event.reason:
            self._of(table.STREAM_FAILURES, event.model, event.reason).inc()

    def _breaker_changed(self, event: BreakerChanged) -> None:
        to = "open" if event.open else "closed"
        self._of(table.BREAKER_CHANGES, event.model, event.engine, to).inc()

    def _budget_leased(self, event: BudgetLeased) -> None:
        tenant = self._tenant(event.tenant)
        if tenant != OTHERS:
            labels = (tenant, event.period, event.currency, event.model)
            self._of(table.BUDGET_USED, *labels).set(event.used)

    def _store_changed(self, event: StoreStateChanged) -> None:
        self._of(table.STORE_AVAILABLE, event.store).set(int(event.available))


def _taken(events: deque[ObserverEvent]) -> Iterator[ObserverEvent]:
    with suppress(IndexError):
        while True:
            yield events.popleft()


def _create(metric: table.Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    kinds: dict[str, Callable[..., Counter | Gauge | Histogram]] = {
        "counter": Counter,
        "gauge": Gauge,
        "histogram": partial(Histogram, buckets=metric.buckets),
    }
    return kinds[metric.kind](metric.name, metric.meaning, metric.labels, registry=registry)
