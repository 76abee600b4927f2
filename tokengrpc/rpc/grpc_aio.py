"""Adapter to grpc.aio: implements `RpcCall`, and registers handlers with the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc._cython.cygrpc import ExecuteBatchError

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
_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}

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
        # gRPC makes both anew whenever it is asked.
        self._metadata: Sequence[tuple[str, str | bytes]] | None = None
        self._peer: Peer | None = None

    @property
    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """See `RpcCall`."""
        if self._metadata is None:
            self._metadata = tuple(self._context.invocation_metadata() or ())
        return self._metadata

    @property
    def peer(self) -> Peer:
        """See `RpcCall`."""
        if self._peer is None:
            names = self._context.peer_identities() or ()
            self._peer = Peer(
                address=self._context.peer(),
                certificate_names=tuple(name.decode(errors="replace") for name in names),
            )
        return self._peer

    @property
    def deadline_left(self) -> float | None:
        """See `RpcCall`."""
        return self._context.time_remaining()

    async def receive(self) -> bytes | None:
        """See `RpcCall`."""
        message = await self._next_message()
        if message is not grpc.aio.EOF:
            self.received_bytes += len(message)
            return bytes(message)
        # The same is returned if the caller has left or its message was too large; then gRPC cancels this.
        await asyncio.sleep(_CANCELLATION_DELAY)
        return None

    async def _next_message(self) -> Any:  # noqa: ANN401 - bytes, or EOF
        return await self._context.read()

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
        try:
            await self._context.abort(
                _CODES[status.code], status.message, self._failure_trailers(status, pushback_ms)
            )
        except ExecuteBatchError:
            # The caller left before the status could be sent.
            raise asyncio.CancelledError from None

    def _failure_trailers(
        self, status: Status, pushback_ms: int | None
    ) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the trailers of a call that fails."""
        more = () if pushback_ms is None else (("grpc-retry-pushback-ms", str(pushback_ms)),)
        return ((_DETAILS, status.SerializeToString()), *more, *self._trailers())


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One RPC: its handler, and what surrounds its calls. `trailers` are sent with each of them."""

    name: str
    handler: Handler[Any]
    interceptor: CallInterceptor
    trailers: Trailers
    scopes: tuple[Scope, ...]

    def call(self, context: Context) -> GrpcCall:
        """Returns a call of this method."""
        return GrpcCall(self.name, context, self.trailers, self.scopes)


def register(
    server: grpc.aio.Server,
    service: ServiceDescriptor,
    handlers: Mapping[str, Handler[Any]],
    interceptor: CallInterceptor,
    trailers: Trailers = tuple,
) -> dict[str, Method]:
    """Registers a service, and returns its methods by path. `trailers` are sent with every call.

    Callers need the scopes of `rpc/scopes.py`.

    Without serializers, because handlers take and return encoded messages. All methods are registered as
    taking a stream of requests, of which they read one. Then they begin when the call arrives, can refuse it
    before the request has arrived, and can limit the time that this takes. grpc.aio itself would wait for the
    single request of a method without any limit. Methods are also registered one by one, so that the calls of
    one do not wait for those of another to be accepted.
    """
    scopes = SCOPES[service.full_name]
    methods = {
        method.name: Method(
            name=method.name,
            handler=handlers[method.name],
            interceptor=interceptor,
            trailers=trailers,
            scopes=scopes,
        )
        for method in service.methods
    }
    registered: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method.name: (
            grpc.stream_stream_rpc_method_handler
            if method.server_streaming
            else grpc.stream_unary_rpc_method_handler
        )(_behavior(methods[method.name]))
        for method in service.methods
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.full_name, registered)])
    server.add_registered_method_handlers(service.full_name, registered)
    return {f"/{service.full_name}/{name}": methods[name] for name in registered}


def _behavior(method: Method) -> Callable[[object, Context], Awaitable[Any]]:
    # A coroutine function, because grpc.aio runs any other callable on a thread.
    async def handle(_requests: object, context: Context) -> Any:  # noqa: ANN401 - bytes or None, by the kind of call
        call = method.call(context)
        try:
            response = await method.interceptor.run(method.handler, call)
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
