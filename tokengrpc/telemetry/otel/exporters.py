"""OTLP exporters, as OpenTelemetry's variables configure them, and spans on their way to one."""

from __future__ import annotations

import importlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE, OTEL_EXPORTER_OTLP_PROTOCOL
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from tokengrpc.config import ConfigError
from tokengrpc.telemetry.otel.variables import check_exporter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

_MODULES = {"grpc": "grpc", "http/protobuf": "http"}
_CLASSES = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
}
_QUEUE_SIZE = 2048

log = structlog.get_logger(__name__)


def is_wanted(signal: str) -> bool:
    """Returns whether traces or metrics are exported: `OTEL_TRACES_EXPORTER` and its like may say none."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    chosen = os.environ.get(variable, "").strip() or "otlp"
    if chosen not in {"otlp", "none"}:
        raise ConfigError(f"{variable}: must be otlp or none")
    return chosen == "otlp"


def otlp_exporter(signal: str) -> Any:  # noqa: ANN401 - of traces or of metrics
    """Creates the exporter of traces or metrics, which reads the variables `OTEL_EXPORTER_OTLP_*` itself.

    Raises ConfigError if one of them is wrong, or the protocol's package is missing.
    """
    check_exporter(signal)
    variables = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", OTEL_EXPORTER_OTLP_PROTOCOL)
    variable = next((name for name in variables if os.environ.get(name, "").strip()), variables[1])
    protocol = os.environ.get(variable, "").strip() or "grpc"
    if protocol not in _MODULES:
        raise ConfigError(f"{variable}: must be grpc or http/protobuf")
    module, name = _CLASSES[signal]
    try:
        found = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{_MODULES[protocol]}.{module}")
    except ModuleNotFoundError:
        package = f"opentelemetry-exporter-otlp-proto-{_MODULES[protocol]}"
        raise ConfigError(f"{variable}: {protocol} needs {package}: pip install {package}") from None
    try:
        exporter = getattr(found, name)()
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_*: {str(error).splitlines()[0]}") from error
    exporter.shutdown = _once(exporter.shutdown)
    return exporter


def _once(shutdown: Callable[..., None]) -> Callable[..., None]:
    """Returns a shutdown whose repetitions do nothing: an exporter that is given up is closed twice.

    The SDK would log the second time, when the log is closed already.
    """
    calls = itertools.count()

    def shut_down(*args: object, **options: object) -> None:
        if not next(calls):
            shutdown(*args, **options)

    return shut_down


class BoundedSpans(SpanProcessor):
    """Queue of ended spans, which a thread of the SDK exports in batches. Counts what is dropped.

    `on_end` never blocks: if the queue is full, because the collector is slow or away, the span is dropped.
    Dropped spans are logged with their number after each export, and when the queue is closed.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        """Raises ConfigError if a variable `OTEL_BSP_*` is wrong."""
        self._size = _queue_size()
        # Each number is written by one thread until `abandon`.
        self._queued = self._full = 0
        self._taken = self._sent = self._refused = 0
        self._reported = 0
        self._abandoned = False
        self._exporter = _Counted(self, exporter)
        try:
            self._batches = BatchSpanProcessor(self._exporter)
        except ValueError as error:
            raise ConfigError(f"OTEL_BSP_*: {error}") from None

    @property
    def dropped(self) -> int:
        """Spans that were dropped because the queue was full, or because the collector did not take them."""
        return self._full + self._refused

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a span, or drops it."""
        if self._queued - self._taken >= self._size:
            self._full += 1
            return
        self._queued += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Exports what is queued, and closes the exporter. May take as long as an export."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Exports what is queued now."""
        return self._batches.force_flush(timeout_millis)

    def abandon(self) -> None:
        """Gives up an export that hangs. What is not known to have been taken counts as dropped."""
        self._abandoned = True
        self._refused = self._queued - self._sent
        self.report()
        self._exporter.shutdown()

    def begin(self, count: int) -> None:
        """Notes that spans leave the queue."""
        self._taken += count

    def end(self, count: int, *, sent: bool) -> None:
        """Notes whether the collector took these spans."""
        if self._abandoned:
            return  # they are counted already
        if sent:
            self._sent += count
        else:
            self._refused += count
        self.report()

    def report(self) -> None:
        """Logs how many spans were dropped since the last report."""
        new = self.dropped - self._reported
        if new > 0:
            self._reported += new
            log.warning(
                "spans were dropped: the collector did not take them in time; check it and its address",
                spans=new,
                in_all=self._reported,
            )


class _Counted(SpanExporter):
    """Exporter that tells the queue what became of its spans."""

    def __init__(self, queue: BoundedSpans, exporter: SpanExporter) -> None:
        self._queue = queue
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Exports spans, in the thread of the batches."""
        self._queue.begin(len(spans))
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._queue.end(len(spans), sent=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Closes the exporter, and ends the pauses between its tries."""
        self._exporter.shutdown()


def _queue_size() -> int:
    """Returns the size of the queue, which the SDK reads as well but does not tell."""
    text = os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, "").strip()
    if text and not text.isdecimal():
        raise ConfigError(f"{OTEL_BSP_MAX_QUEUE_SIZE}: must be a whole number")
    return int(text) if text else _QUEUE_SIZE
