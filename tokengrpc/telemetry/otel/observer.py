"""The observer that exports: hands events to spans and metrics, and gives exporters a bounded end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider

from tokengrpc import __version__
from tokengrpc.telemetry.otel.exporters import BoundedSpans, is_wanted, otlp_exporter
from tokengrpc.telemetry.otel.metrics import Metrics
from tokengrpc.telemetry.otel.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.ports.observer import Beginning, Observer, ObserverEvent
    from tokengrpc.core.trace import TraceContext

CLOSE_SECONDS = 3.0
"""The longest time that exporters get at the end for what is still queued."""

log = structlog.get_logger(__name__)


class OpenTelemetry:
    """Observer with the traces and metrics of a server. OpenTelemetry's variables configure all of it.

    It uses providers of its own, and leaves the global ones of the process alone.
    """

    def __init__(self, server_name: str = "") -> None:
        """Starts the exporters. Raises ConfigError if a variable is wrong."""
        resource = _resource(server_name)
        self._observers: list[Observer] = []
        # What exports the rest and closes, and what gives that up if it hangs.
        self._shutdowns: dict[Callable[[], None], Callable[[], None]] = {}
        self._spans: Spans | None = None
        self._queue: BoundedSpans | None = None
        if is_wanted("metrics"):
            exporter = otlp_exporter("metrics")
            meters = MeterProvider(
                [PeriodicExportingMetricReader(exporter)], resource, shutdown_on_exit=False
            )
            self._observers.append(Metrics(meters.get_meter("tokengrpc", __version__)))
            self._shutdowns[meters.shutdown] = exporter.shutdown
        if is_wanted("traces"):
            tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
            queue = BoundedSpans(otlp_exporter("traces"))
            tracers.add_span_processor(queue)
            self._spans = Spans(tracers.get_tracer("tokengrpc", __version__))
            self._observers.append(self._spans)
            self._shutdowns[tracers.shutdown] = queue.abandon
            self._queue = queue

    def dropped_spans(self) -> int:
        """Returns how many spans were dropped. For any thread."""
        return 0 if self._queue is None else self._queue.dropped

    def on_event(self, event: ObserverEvent) -> None:
        """Implements `Observer`."""
        for observer in self._observers:
            observer.on_event(event)

    def begin(self, event: Beginning) -> TraceContext:
        """Implements `Tracer`."""
        return event.trace if self._spans is None else self._spans.begin(event)

    async def close(self) -> None:
        """Exports what is still queued, for at most CLOSE_SECONDS. What is left is dropped, and logged."""
        loop = asyncio.get_running_loop()
        ends = {_in_thread(shutdown, loop): give_up for shutdown, give_up in self._shutdowns.items()}
        if not ends:
            return
        _, hanging = await asyncio.wait(ends, timeout=CLOSE_SECONDS)
        for end in hanging:
            end.cancel()
            ends[end]()


def _in_thread(work: Callable[[], None], loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Runs work in a thread that does not keep the process alive."""
    ended: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not ended.done():
            ended.set_result(None)

    def run() -> None:
        try:
            work()
        except Exception as error:
            log.warning("an exporter could not be closed", error=str(error).splitlines()[-1])
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish)

    threading.Thread(target=run, name="otel-close", daemon=True).start()
    return ended


def _resource(server_name: str) -> Resource:
    """Returns what describes this process. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first."""
    given = OTELResourceDetector().detect().attributes
    own = {"service.name": "tokengrpc", "service.version": __version__}
    if server_name:
        own["service.instance.id"] = server_name
    return Resource.create({name: value for name, value in own.items() if name not in given})
