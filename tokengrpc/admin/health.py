"""Health of the admin port: gRPC's service over the server's status. No watch can hold up anything else.

gRPC's own implementation sends to all watches under one lock, and sending lasts until the peer has room for
the message. So one peer without room would block all others, and the event loop when the server drains.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2

from tokengrpc.rpc.lifecycle import SHOWN_STATES, UNKNOWN_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MAX_WATCHES = 100
"""Watches at once: each has a thread, which waits for changes. Further ones wait for their turn."""

WATCH = f"/{health.SERVICE_NAME}/Watch"


class AdminHealth:
    """The service `grpc.health.v1.Health`. Any thread may call `update`, which never blocks."""

    def __init__(self, states: Callable[[], Mapping[str, bool]]) -> None:
        """`states` returns whether each name serves, now."""
        self._states = states
        self._shown: Mapping[str, bool] = {}
        self._changed = threading.Condition()
        self._threads = ThreadPoolExecutor(_MAX_WATCHES, thread_name_prefix="admin-watch")
        self.update()

    def update(self) -> None:
        """Shows what has changed, and so tells those who watch it."""
        with self._changed:
            states = self._states()
            if states != self._shown:
                self._shown = states
                self._changed.notify_all()

    def register(self, server: grpc.Server) -> None:
        """Registers the service."""

        def watch(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401 - a message
            return self._watch(request.service, context)

        watch.experimental_thread_pool = self._threads  # type: ignore[attr-defined] # how gRPC is told
        coders: dict[str, Any] = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
        }
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, **coders),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, **coders),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods),))

    def close(self) -> None:
        """Waits until all watches have ended. The server must have been stopped, which ends them."""
        self._threads.shutdown()

    def _check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - messages
        serving = self._shown.get(request.service)
        if serving is None:
            context.abort(grpc.StatusCode.NOT_FOUND, UNKNOWN_NAME)
        return health_pb2.HealthCheckResponse(status=SHOWN_STATES[serving])

    def _watch(self, name: str, context: grpc.ServicerContext) -> Iterator[Any]:
        """Yields the state of a name, and again whenever it has changed, until the call ends."""
        told: Any = object()

        def has_news() -> bool:
            return not context.is_active() or self._shown.get(name) is not told

        if not context.add_callback(self._wake):
            return  # it has ended already
        while True:
            with self._changed:
                self._changed.wait_for(has_news)
                told = self._shown.get(name)
            if not context.is_active():
                return
            yield health_pb2.HealthCheckResponse(status=SHOWN_STATES[told])

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
