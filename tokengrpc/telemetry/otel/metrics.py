"""OpenTelemetry's metrics from the observers' events. Nothing is recorded per token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokengrpc.core.ports.observer import AttemptEnded, CallEnded, GenerationEnded
from tokengrpc.telemetry.methods import FULL_NAMES
from tokengrpc.telemetry.otel import names
from tokengrpc.telemetry.tenants import TenantLabels

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import Histogram, Meter

    from tokengrpc.core.ports.observer import ObserverEvent

_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_REQUEST_SECONDS = tuple(0.01 * 2**power for power in range(14))
_FIRST_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)

CALL_DURATION = "rpc.server.call.duration"
SERVER_DURATION = "gen_ai.server.request.duration"
SERVER_FIRST = "gen_ai.server.time_to_first_token"
SERVER_TOKEN = "gen_ai.server.time_per_output_token"  # noqa: S105 - a name
CLIENT_DURATION = "gen_ai.client.inference.duration"
CLIENT_FIRST = "gen_ai.client.inference.time_to_first_chunk"
CLIENT_USAGE = {field: f"gen_ai.client.inference.{name}" for field, name in names.USAGE.items()}

HISTOGRAMS = {
    CALL_DURATION: (_CALL_SECONDS, "calls that have ended, with their true status"),
    SERVER_DURATION: (_REQUEST_SECONDS, "from admission until the end of a generation"),
    SERVER_FIRST: (_FIRST_SECONDS, "from admission until the first output, of generations that succeeded"),
    SERVER_TOKEN: (_TOKEN_SECONDS, "time per output token after the first, of generations that succeeded"),
    CLIENT_DURATION: (_REQUEST_SECONDS, "from the call of an engine until its end"),
    CLIENT_FIRST: (_FIRST_SECONDS, "from the call of an engine until its first output"),
}
"""Boundaries, which are those of the conventions, and meaning of each histogram, in seconds."""

COUNTERS = {
    CLIENT_USAGE["input"]: "input tokens of calls of engines",
    CLIENT_USAGE["output"]: "output tokens of calls of engines",
    CLIENT_USAGE["cached_input"]: "those input tokens that an engine had cached",
    CLIENT_USAGE["cache_write_input"]: "those input tokens that an engine wrote to its cache",
    CLIENT_USAGE["reasoning"]: "those output tokens that are reasoning",
}
"""Meaning of each counter, in tokens."""


class Metrics:
    """Observer that records metrics. Labels are those of the Prometheus metrics, and bounded as they are."""

    def __init__(self, meter: Meter) -> None:
        self._tenants = TenantLabels()
        self._histograms: dict[str, Histogram] = {
            name: meter.create_histogram(
                name, "s", meaning, explicit_bucket_boundaries_advisory=list(boundaries)
            )
            for name, (boundaries, meaning) in HISTOGRAMS.items()
        }
        self._counters = {
            name: meter.create_counter(name, "{token}", meaning) for name, meaning in COUNTERS.items()
        }
        self._takers: dict[type[ObserverEvent], Callable[[Any], None]] = {
            CallEnded: self._call_ended,
            GenerationEnded: self._generation_ended,
            AttemptEnded: self._attempt_ended,
        }

    def on_event(self, event: ObserverEvent) -> None:
        """Implements `Observer`."""
        take = self._takers.get(type(event))
        if take is not None:
            take(event)

    def _call_ended(self, event: CallEnded) -> None:
        attributes = {
            names.RPC_SYSTEM: "grpc",
            names.RPC_METHOD: FULL_NAMES[event.method],
            names.RPC_STATUS: event.code,
        }
        if event.code in names.SERVER_ERRORS:
            attributes[names.ERROR_TYPE] = event.reason or event.code
        self._histograms[CALL_DURATION].record(event.seconds, attributes)

    def _generation_ended(self, event: GenerationEnded) -> None:
        record, times = event.record, event.timestamps
        if not times.started:
            return
        attributes = {
            names.OPERATION: event.operation,
            names.PROVIDER: names.GATEWAY,
            names.REQUEST_MODEL: record.model,
            names.TENANT: self._tenants.of(record.tenant),
        }
        seconds = max(0, times.ended - times.created) / 1e9
        if record.error_reason:
            failed = {**attributes, names.ERROR_TYPE: record.error_reason}
            self._histograms[SERVER_DURATION].record(seconds, failed)
            return
        self._histograms[SERVER_DURATION].record(seconds, attributes)
        if times.first_token:
            first = max(0, times.first_token - times.created) / 1e9
            self._histograms[SERVER_FIRST].record(first, attributes)
            if record.usage.output > 1:
                rest = max(0, times.ended - times.first_token) / 1e9
                self._histograms[SERVER_TOKEN].record(rest / (record.usage.output - 1), attributes)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        upstream = event.upstream
        attributes: dict[str, Any] = {
            names.OPERATION: event.operation,
            names.PROVIDER: upstream.provider,
            names.REQUEST_MODEL: upstream.model,
            names.ENGINE: event.engine,
        }
        if upstream.address:
            attributes[names.SERVER_ADDRESS] = upstream.address
        if upstream.port:
            attributes[names.SERVER_PORT] = upstream.port
        for field, name in CLIENT_USAGE.items():
            if count := getattr(event.usage, field):
                self._counters[name].add(count, attributes)
        if event.first_token_seconds is not None:
            self._histograms[CLIENT_FIRST].record(event.first_token_seconds, attributes)
        if event.error_reason:
            attributes = {**attributes, names.ERROR_TYPE: event.error_reason}
        self._histograms[CLIENT_DURATION].record(event.seconds, attributes)
