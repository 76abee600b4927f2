"""Spans from the observers' events: one per call, per generation, and per attempt on an engine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags, TraceState

from tokengrpc.core.ports.observer import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    EngineSwitched,
    GenerationAdmitted,
    GenerationEnded,
    GenerationMoved,
    GenerationStarted,
    Opening,
    SubscriptionStarted,
)
from tokengrpc.core.trace import TraceContext
from tokengrpc.telemetry.methods import FULL_NAMES
from tokengrpc.telemetry.otel import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span, Tracer

    from tokengrpc.core.ports.observer import Beginning, ObserverEvent


@dataclass(frozen=True, slots=True)
class SpanContext(TraceContext):
    """Place of a span that is recorded, with the span and its start, in nanoseconds since the Unix epoch."""

    span: Span = api.INVALID_SPAN
    began: int = 0


class Spans:
    """Tracer of a server. Below a place that is not sampled, nothing is recorded and no sampler is asked."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._beginnings: dict[type[Beginning], Callable[[Any], TraceContext]] = {
            CallStarted: self._call_started,
            GenerationAdmitted: self._admitted,
            AttemptStarted: self._attempt_started,
        }
        self._takers: dict[type[ObserverEvent], Callable[[Any, SpanContext], None]] = {
            CallEnded: _end_call,
            SubscriptionStarted: _describe_stream,
            AttemptStarted: _add_queued,
            GenerationStarted: _add_accepted,
            EngineSwitched: _add_switch,
            AttemptEnded: _end_attempt,
            GenerationEnded: _end_generation,
            GenerationMoved: _end_moved,
        }

    def on_event(self, event: ObserverEvent) -> None:
        """Implements `Observer`."""
        place = getattr(event, "trace", None)
        if isinstance(place, SpanContext):
            take = self._takers.get(type(event))
            if take is not None:
                take(event, place)

    def begin(self, event: Beginning) -> TraceContext:
        """Implements `Tracer`."""
        return self._beginnings[type(event)](event)

    def _call_started(self, event: CallStarted) -> TraceContext:
        method = FULL_NAMES[event.method]
        attributes = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: method, **_peer(event.peer)}
        return self._start(method, event.trace, SpanKind.SERVER, attributes)

    def _admitted(self, event: GenerationAdmitted) -> TraceContext:
        if not isinstance(event.trace, SpanContext):
            return event.trace
        attributes = {
            names.GENERATION_ID: event.key.generation_id,
            names.MODEL: event.model,
            names.TENANT: event.key.tenant,
        }
        return self._start(f"generation {event.model}", event.trace, SpanKind.INTERNAL, attributes)

    def _attempt_started(self, event: AttemptStarted) -> TraceContext:
        if not isinstance(event.trace, SpanContext):
            return event.trace
        upstream, asked = event.upstream, event.parameters
        attributes: dict[str, Any] = {
            names.OPERATION: asked.operation,
            names.PROVIDER: upstream.provider,
            names.REQUEST_MODEL: upstream.model,
            names.STREAM: True,
            names.ENGINE: event.engine,
            names.CAUSE: event.cause.value,
        }
        for field, name in names.PARAMETERS.items():
            value = getattr(asked, field)
            if value is not None:
                attributes[name] = value
        if upstream.address:
            attributes[names.SERVER_ADDRESS] = upstream.address
        if upstream.port:
            attributes[names.SERVER_PORT] = upstream.port
        kind = SpanKind.CLIENT if upstream.address else SpanKind.INTERNAL
        return self._start(f"{asked.operation} {upstream.model}", event.trace, kind, attributes)

    def _start(
        self, name: str, parent: TraceContext, kind: SpanKind, attributes: dict[str, Any]
    ) -> TraceContext:
        began = time.time_ns()
        span = self._tracer.start_span(name, _context(parent), kind, attributes, start_time=began)
        context = span.get_span_context()
        if not context.is_valid:  # the SDK is turned off by OTEL_SDK_DISABLED
            return parent
        header = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        state = context.trace_state.to_header() if context.trace_state else ""
        if span.is_recording():
            return SpanContext(header, state, span, began)
        return TraceContext(header, state)


def _context(place: TraceContext) -> Context:
    """Returns the context of a span below a place, which may be that of another process."""
    if not place.traceparent:
        return Context()
    span = place.span if isinstance(place, SpanContext) else api.NonRecordingSpan(_remote(place))
    return api.set_span_in_context(span, Context())


def _remote(place: TraceContext) -> api.SpanContext:
    return api.SpanContext(
        int(place.trace_id, 16),
        int(place.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(place.traceparent[53:], 16)),
        trace_state=TraceState.from_header([place.tracestate]) if place.tracestate else None,
    )


def _peer(address: str) -> dict[str, Any]:
    """Returns the attributes of an address: gRPC writes ipv4:HOST:PORT, ipv6:[HOST]:PORT or unix:PATH."""
    kind, _, rest = address.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return {names.PEER_ADDRESS: rest} if rest else {}
    host, _, port = rest.replace("%5B", "[").replace("%5D", "]").rpartition(":")
    attributes: dict[str, Any] = {names.PEER_ADDRESS: host.strip("[]")}
    if port.isdecimal():
        attributes[names.PEER_PORT] = int(port)
    return attributes


def _fail(span: Span, reason: str) -> None:
    span.set_attribute(names.ERROR_TYPE, reason)
    span.set_status(StatusCode.ERROR)


def _end_call(event: CallEnded, place: SpanContext) -> None:
    span = place.span
    span.set_attribute(names.RPC_STATUS, event.code)
    if event.tenant:
        span.set_attribute(names.TENANT, event.tenant)
    if event.generation_id:
        span.set_attribute(names.GENERATION_ID, event.generation_id)
    if event.reason:
        span.set_attribute(names.REASON, event.reason)
    if event.code in names.SERVER_ERRORS:
        _fail(span, event.reason or event.code)
    span.end(place.began + round(event.seconds * 1e9))


def _describe_stream(event: SubscriptionStarted, place: SpanContext) -> None:
    place.span.set_attribute(names.OPENING, event.opening.value)
    generation = event.generation_trace
    if event.opening is not Opening.START and generation.traceparent:
        place.span.add_link(_remote(generation))


def _add_queued(event: AttemptStarted, place: SpanContext) -> None:
    if event.wait_seconds:
        queued = time.time_ns() - round(event.wait_seconds * 1e9)
        place.span.add_event("queued", {"tokengrpc.wait_seconds": event.wait_seconds}, queued)


def _add_accepted(event: GenerationStarted, place: SpanContext) -> None:
    place.span.add_event("accepted", {names.ENGINE: event.engine})


def _add_switch(event: EngineSwitched, place: SpanContext) -> None:
    switch = event.switch
    attributes = {
        "tokengrpc.switch.from_engine": switch.from_engine,
        "tokengrpc.switch.to_engine": switch.to_engine,
        "tokengrpc.switch.method": switch.method.value,
        names.REASON: switch.reason,
    }
    place.span.add_event("switch", attributes)


def _end_attempt(event: AttemptEnded, place: SpanContext) -> None:
    span = place.span
    for name, seconds in (("accepted", event.accepted_seconds), ("first_token", event.first_token_seconds)):
        if seconds is not None:
            span.add_event(name, timestamp=place.began + round(seconds * 1e9))
    span.set_attribute(names.OUTCOME, event.outcome.lower())
    if event.first_token_seconds is not None:
        span.set_attribute(names.TIME_TO_FIRST_CHUNK, event.first_token_seconds)
    if event.response_id:
        span.set_attribute(names.RESPONSE_ID, event.response_id)
    if event.response_model:
        span.set_attribute(names.RESPONSE_MODEL, event.response_model)
    if event.finish_reason is not None:
        span.set_attribute(names.FINISH_REASONS, [names.finish_word(event.finish_reason)])
    for field, name in names.USAGE.items():
        count = getattr(event.usage, field)
        if count is not None:
            span.set_attribute(f"gen_ai.{name}", count)
    if event.error_reason:
        _fail(span, event.error_reason)
    span.end()


def _end_moved(event: GenerationMoved, place: SpanContext) -> None:
    """Ends a generation's span at the server that it leaves. It has not failed."""
    place.span.set_attribute(names.REASON, event.reason)
    place.span.end()


def _end_generation(event: GenerationEnded, place: SpanContext) -> None:
    """Ends a generation's span. What was billed has names of its own: `gen_ai.usage` is that of attempts."""
    span, record = place.span, event.record
    if event.timestamps.first_token:
        span.add_event("first_token", timestamp=event.timestamps.first_token)
    if record.finish_reason is not None:
        span.set_attribute(names.FINISH_REASON, record.finish_reason.value)
    usage = record.usage
    for field, name in names.USAGE.items():
        if count := getattr(usage, field):
            span.set_attribute(f"tokengrpc.{name}", count)
    if usage.overhead:
        span.set_attribute("tokengrpc.usage.overhead_tokens", usage.overhead)
    span.set_attribute("tokengrpc.usage.source", usage.source.name)
    span.set_attribute("tokengrpc.attempt.count", len(record.engines))
    if record.error_reason:
        span.set_attribute(names.REASON, record.error_reason)
        if record.error_reason != "CANCELLED":
            _fail(span, record.error_reason)
    span.end()
