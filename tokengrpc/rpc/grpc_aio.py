"""Adapter to grpc.aio: implements `RpcCall`, and registers handlers with the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc._cython.cygrpc import ExecuteBatchError
from grpc_status import rpc_status

from tokengrpc.core.ports.auth import Peer
from tokengrpc.rpc.call import RpcCall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from google.protobuf.descriptor import ServiceDescriptor
    from google.rpc.status_pb2 import Status

    from tokengrpc.rpc.call import Handler
    from tokengrpc.rpc.interceptor import CallInterceptor

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcCall(RpcCall):
    """Call of grpc.aio."""

    def __init__(self, method: str, context: Context) -> None:
        super().__init__(method)
        self._context = context

    @property
    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """See `RpcCall`."""
        return tuple(self._context.invocation_metadata() or ())

    @property
    def peer(self) -> Peer:
        """See `RpcCall`."""
        names = self._context.peer_identities() or ()
        return Peer(
            address=self._context.peer(),
            certificate_names=tuple(name.decode(errors="replace") for name in names),
        )

    @property
    def deadline_left(self) -> float | None:
        """See `RpcCall`."""
        return self._context.time_remaining()

    async def write(self, message: bytes) -> None:
        """See `RpcCall`."""
        try:
            await self._context.write(message)
        except ExecuteBatchError:
            # This is how grpc.aio reports that the caller left in the middle of a write; the cancellation of
            # the handler follows.
            raise asyncio.CancelledError from None

    async def fail(self, status: Status, pushback_ms: int | None) -> None:
        """See `RpcCall`. Always raises, because grpc.aio ends a call with an exception."""
        made = rpc_status.to_status(status)
        more = () if pushback_ms is None else (("grpc-retry-pushback-ms", str(pushback_ms)),)
        try:
            await self._context.abort_with_status(
                _Status(
                    code=made.code,
                    details=made.details,
                    trailing_metadata=(*made.trailing_metadata, *more),
                )
            )
        except ExecuteBatchError:
            # The caller left before the status could be sent.
            raise asyncio.CancelledError from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Status(grpc.Status):
    code: grpc.StatusCode
    details: str
    trailing_metadata: Any


def register(
    server: grpc.aio.Server,
    service: ServiceDescriptor,
    handlers: Mapping[str, Handler[Any]],
    interceptor: CallInterceptor,
) -> None:
    """Registers a service. Without serializers, because handlers take and return encoded messages."""
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method.name: (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )(_behavior(method.name, handlers[method.name], interceptor))
        for method in service.methods
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.full_name, methods)])


def _behavior(
    name: str, handler: Handler[Any], interceptor: CallInterceptor
) -> Callable[[bytes, Context], Awaitable[Any]]:
    # A coroutine function, because grpc.aio runs any other callable on a thread.
    async def handle(data: bytes, context: Context) -> Any:  # noqa: ANN401 - bytes or None, by the kind of call
        return await interceptor.run(handler, data, GrpcCall(name, context))

    return handle
