"""Adapter to grpc.aio: implements `RpcCall`, and registers handlers with the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc._cython.cygrpc import ExecuteBatchError
from grpc_status import rpc_status

from tokengrpc.core.ports.auth import Peer
from tokengrpc.rpc.call import RpcCall
from tokengrpc.rpc.scopes import SCOPES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from google.protobuf.descriptor import ServiceDescriptor
    from google.rpc.status_pb2 import Status

    from tokengrpc.core.tenant import Scope
    from tokengrpc.rpc.call import Handler
    from tokengrpc.rpc.interceptor import CallInterceptor

_CANCELLATION_DELAY = 0.05

Context = grpc.aio.ServicerContext[bytes, bytes]
Trailers = Callable[[], tuple[tuple[str, str | bytes], ...]]


class GrpcCall(RpcCall):
    """Call of grpc.aio."""

    def __init__(
        self, method: str, context: Context, trailers: Trailers = tuple, scopes: tuple[Scope, ...] = ()
    ) -> None:
        super().__init__(method, scopes)
        self._context = context
        self._trailers = trailers

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

    async def receive(self) -> bytes | None:
        """See `RpcCall`."""
        message: Any = await self._context.read()
        if message is not grpc.aio.EOF:
            self.received_bytes += len(message)
            return bytes(message)
        # The same is returned if the caller has left or its message was too large; then gRPC cancels this.
        await asyncio.sleep(_CANCELLATION_DELAY)
        return None

    async def write(self, message: bytes) -> None:
        """See `RpcCall`."""
        try:
            await self._context.write(message)
            self.sent_bytes += len(message)
        except ExecuteBatchError:
            # This is how grpc.aio reports that the caller left in the middle of a write; the cancellation of
            # the handler follows.
            raise asyncio.CancelledError from None

    def succeed(self) -> None:
        """Sends the trailers of a call that ends well."""
        if trailers := self._trailers():
            self._context.set_trailing_metadata(trailers)

    async def fail(self, status: Status, pushback_ms: int | None) -> None:
        """See `RpcCall`. Always raises, because grpc.aio ends a call with an exception."""
        made = rpc_status.to_status(status)
        more = () if pushback_ms is None else (("grpc-retry-pushback-ms", str(pushback_ms)),)
        try:
            await self._context.abort_with_status(
                _Status(
                    code=made.code,
                    details=made.details,
                    trailing_metadata=(*made.trailing_metadata, *more, *self._trailers()),
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
    trailers: Trailers = tuple,
) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    """Registers a service, and returns its handlers by path. `trailers` are sent with every call.

    Callers need the scopes of `rpc/scopes.py`.

    Without serializers, because handlers take and return encoded messages. All methods are registered as
    taking a stream of requests, of which they read one. Then they begin when the call arrives, can refuse it
    before the request has arrived, and can limit the time that this takes. grpc.aio itself would wait for the
    single request of a method without any limit. Methods are also registered one by one, so that the calls of
    one do not wait for those of another to be accepted.
    """
    scopes = SCOPES[service.full_name]
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method.name: (
            grpc.stream_stream_rpc_method_handler
            if method.server_streaming
            else grpc.stream_unary_rpc_method_handler
        )(_behavior(method.name, handlers[method.name], interceptor, trailers, scopes))
        for method in service.methods
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.full_name, methods)])
    server.add_registered_method_handlers(service.full_name, methods)
    return {f"/{service.full_name}/{name}": handler for name, handler in methods.items()}


def _behavior(
    name: str,
    handler: Handler[Any],
    interceptor: CallInterceptor,
    trailers: Trailers,
    scopes: tuple[Scope, ...],
) -> Callable[[object, Context], Awaitable[Any]]:
    # A coroutine function, because grpc.aio runs any other callable on a thread.
    async def handle(_requests: object, context: Context) -> Any:  # noqa: ANN401 - bytes or None, by the kind of call
        call = GrpcCall(name, context, trailers, scopes)
        try:
            response = await interceptor.run(handler, call)
        except grpc.aio.AbortError as aborted:
            # The context keeps this exception, and the frames of its traceback would keep the context.
            raise aborted.with_traceback(None)  # noqa: B904 - gRPC expects the same exception
        else:
            call.succeed()
            return response
        finally:
            del _requests, context, call

    return handle


def admitting(interceptor: CallInterceptor) -> Callable[[Context], Awaitable[None]]:
    """Returns what ends calls of unknown callers to a service that gRPC itself implements."""

    async def admit(context: Context) -> None:
        await interceptor.admit(GrpcCall("", context))

    return admit
