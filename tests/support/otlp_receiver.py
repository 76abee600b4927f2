"""A real OTLP/gRPC receiver, in this process or in one of its own, that decodes and keeps what arrives.

    with OtlpReceiver() as receiver:
        ...  # let OTEL_EXPORTER_OTLP_ENDPOINT be receiver.endpoint
        span = receiver.span("generation m")

`python -m tests.support.otlp_receiver` is one in a process of its own, which prints its address, and the
number of spans when it is stopped.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class OtlpReceiver:
    """The receiver. `requests` has every request; `blocked` makes it hold requests until it is set."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Any] = []
        self.blocked = threading.Event()
        self.blocked.set()
        self._server = grpc.server(ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call] # generated
            _Traces(self), self._server
        )
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call] # generated
            _Metrics(self), self._server
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections."""
        self.blocked.set()
        self._server.stop(0).wait()

    def wait(self) -> None:
        """Waits until the receiver is closed."""
        self._server.wait_for_termination()

    @property
    def endpoint(self) -> str:
        """The URL for exporters."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def bytes(self) -> bytes:
        """All requests, as they were sent."""
        return b"".join(request.SerializeToString() for request in self.requests)

    @property
    def spans(self) -> list[Span]:
        """All spans, in the order of their arrival."""
        return [
            span
            for request in self.requests
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Span]:
        """Returns the spans of this name, the one that began first at the beginning."""
        return sorted((s for s in self.spans if s.name == name), key=lambda s: s.start_time_unix_nano)

    def span(self, name: str) -> Span:
        """Returns the only span of this name."""
        (span,) = self.named(name)
        return span

    def metrics(self) -> dict[str, Metric]:
        """Returns the last state of each metric."""
        return {metric.name: metric for metric in self._metrics()}

    def _metrics(self) -> Iterator[Metric]:
        for request in self.requests:
            if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest):
                for resource in request.resource_metrics:
                    for scope in resource.scope_metrics:
                        yield from scope.metrics


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's name
        self._receiver.blocked.wait()
        self._receiver.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's name
        self._receiver.blocked.wait()
        self._receiver.requests.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


def attributes(of: Any) -> dict[str, Any]:
    """Returns the attributes of a span, an event or a point."""
    return {pair.key: _value(pair) for pair in of.attributes}


def _value(pair: KeyValue) -> Any:
    return _plain(pair.value)


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


def main() -> None:
    """Receives until SIGTERM, then says how many spans arrived."""
    with OtlpReceiver() as receiver:
        signal.signal(signal.SIGTERM, lambda *_: receiver.close())
        print(f"listening on 127.0.0.1:{receiver.port}", flush=True)
        receiver.wait()
        print(f"{len(receiver.spans)} spans", flush=True)


if __name__ == "__main__":
    main()
