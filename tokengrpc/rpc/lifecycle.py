"""The health and reflection services, and the health status while the server starts, serves and drains."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc._cython.cygrpc import ExecuteBatchError
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from tokengrpc.rpc.servicer import SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from google.protobuf.descriptor import FileDescriptor

Admit = Callable[[Any], Awaitable[None]]

LIVENESS = "liveness"
READY_NAMES = ("", "readiness", SERVICE.full_name)
"""Health service names that are SERVING while the server accepts new generations."""

# Imported so that reflection lists these messages: grpcurl needs them to decode errors.
_DESCRIBED = (error_details_pb2,)


SHOWN_STATES = {
    None: health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
    True: health_pb2.HealthCheckResponse.SERVING,
}
"""How health is shown of a name that serves or not; None of one that there is not."""
UNKNOWN_NAME = "the server has no service of this name"


class Health:
    """The service grpc.health.v1. NOT_SERVING until `ready`, and for good after `draining`.

    The name `liveness` is SERVING throughout. gRPC's own implementation writes to a watch under the lock that
    a change needs, so that one peer without room for a message would keep the server from draining.
    """

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self._latched = False

    async def register(self, server: grpc.aio.Server, request_timeout: float) -> None:
        """Registers the service, with the status NOT_SERVING. A call has so many seconds for its request."""
        self._set(READY_NAMES, serving=False)
        self._set((LIVENESS,), serving=True)

        # Streams of requests, so that the time for the single request has a limit: see `grpc_aio.register`.
        async def check(_requests: object, context: Any) -> Any:  # noqa: ANN401 - messages of gRPC's own service
            request = await only_request(context, request_timeout)
            serving = self._serving.get(request.service)
            if serving is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, UNKNOWN_NAME)
            return health_pb2.HealthCheckResponse(status=SHOWN_STATES[serving])

        async def watch(_requests: object, context: Any) -> None:  # noqa: ANN401 - as above
            request = await only_request(context, request_timeout)
            try:
                await self._watch(request.service, context)
            except ExecuteBatchError:
                # The client left in the middle of a write.
                raise asyncio.CancelledError from None

        coders = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
        }
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(check, **coders),
            "Watch": grpc.stream_stream_rpc_method_handler(watch, **coders),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods)])

    async def ready(self) -> None:
        """Reports that the server accepts new generations."""
        if not self._latched:
            self._set(READY_NAMES, serving=True)

    async def draining(self) -> None:
        """Reports that the server accepts no more generations."""
        self._latched = True
        self._set(READY_NAMES, serving=False)

    def _set(self, names: Iterable[str], *, serving: bool) -> None:
        self._serving.update(dict.fromkeys(names, serving))
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    async def _watch(self, name: str, context: Any) -> None:  # noqa: ANN401 - as above
        """Writes the state of a name, and again whenever it has changed."""
        told: object = SHOWN_STATES  # as nothing else is
        while True:
            changed, serving = self._changed, self._serving.get(name)
            if serving is not told:
                told = serving
                await context.write(health_pb2.HealthCheckResponse(status=SHOWN_STATES[serving]))
            else:
                await changed.wait()


def register_reflection(
    server: grpc.aio.Server, services: Sequence[str], request_timeout: float, admit: Admit | None = None
) -> None:
    """Registers reflection v1alpha and v1, which differ in name only, of some services and its own.

    A call ends well once it has sent no request for `request_timeout` seconds. `admit` ends calls of unknown
    callers; without it, everybody may call.
    """
    names = [*services, health.SERVICE_NAME, reflection.SERVICE_NAME, _REFLECTION_V1]
    servicer = reflection.aio.ReflectionServicer(names, _Descriptors())

    async def info(_requests: object, context: Any) -> None:  # noqa: ANN401 - messages of gRPC's own service
        if admit is not None:
            await admit(context)
        async with aclosing(_requests_of(context, request_timeout)) as requests:
            async for answer in servicer.ServerReflectionInfo(requests, context):
                await context.write(answer)

    handler = grpc.stream_stream_rpc_method_handler(
        info,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
            for name in (reflection.SERVICE_NAME, _REFLECTION_V1)
        ]
    )


async def _requests_of(context: Any, timeout: float) -> AsyncGenerator[Any]:  # noqa: ANN401 - as above
    """Yields the requests of a call until its caller is done, or has sent none for `timeout` seconds."""
    try:
        while True:
            async with asyncio.timeout(timeout):
                message = await context.read()
            if message is grpc.aio.EOF:
                return
            yield message
    except TimeoutError:
        return


async def only_request(context: Any, timeout: float) -> Any:  # noqa: ANN401 - as above
    """Returns the request of a call that has one. Ends the call if it does not arrive."""
    try:
        async with asyncio.timeout(timeout):
            message = await context.read()
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no request arrived within {timeout:g} s")
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a message of this method")
    if message is grpc.aio.EOF:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a request: send one")
    return message


class _Descriptors:
    """Default descriptor pool that also finds the file of a method, which protobuf's C pool does not."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's name
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file

    def __getattr__(self, name: str) -> object:
        return getattr(self._pool, name)


_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
