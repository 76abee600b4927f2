"""Time limit of calls on a synchronous gRPC server, each of which holds one of few threads."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


class TimeLimit(grpc.ServerInterceptor):
    """Ends calls that last longer, in seconds: their peers send no request, or do not read the answers.

    Applies to methods with one request and one response, and to those with streams of both. Not to those of
    the paths in `without`.
    """

    def __init__(self, seconds: float, *, without: Collection[str]) -> None:
        self._seconds = seconds
        self._without = without

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:  # noqa: ANN401 - see above
        """Returns the handler of a call. A single request is read as a stream, which a limit can end."""
        handler = continuation(handler_call_details)
        if handler is None or handler_call_details.method in self._without:
            return handler
        coders = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(self._unary(handler.unary_unary), **coders)
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream), **coders)
        return handler

    def _unary(self, behavior: Callable[[Any, Any], Any]) -> Callable[[Iterator[Any], Any], Any]:
        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - messages
            with self._limited(context):
                request = next(requests, None)
                if request is None:
                    context.abort(
                        grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a request: send one"
                    )
                return behavior(request, context)

        return call

    def _stream(self, behavior: Callable[[Any, Any], Iterator[Any]]) -> Callable[[Any, Any], Iterator[Any]]:
        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._limited(context):
                yield from behavior(requests, context)

        return call

    @contextmanager
    def _limited(self, context: grpc.ServicerContext) -> Iterator[None]:
        timer = threading.Timer(self._seconds, context.cancel)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
