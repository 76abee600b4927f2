"""The health and reflection services, and the health status while the server starts, serves and drains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf import descriptor_pool
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from tokengrpc.rpc.servicer import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import FileDescriptor

LIVENESS = "liveness"
READY_NAMES = ("", "readiness", SERVICE.full_name)
"""Health service names that are SERVING while the server accepts new generations."""

# Imported so that reflection lists these messages: grpcurl needs them to decode errors.
_DESCRIBED = (error_details_pb2,)


class Health:
    """The service grpc.health.v1. NOT_SERVING until `ready`, and for good after `draining`.

    The name `liveness` is SERVING throughout.
    """

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._latched = False

    async def register(self, server: grpc.aio.Server) -> None:
        """Registers the service, with the status NOT_SERVING."""
        await self._set(READY_NAMES, serving=False)
        await self._set((LIVENESS,), serving=True)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def ready(self) -> None:
        """Reports that the server accepts new generations."""
        if not self._latched:
            await self._set(READY_NAMES, serving=True)

    async def draining(self) -> None:
        """Reports that the server accepts no more generations."""
        self._latched = True
        await self._set(READY_NAMES, serving=False)

    async def _set(self, names: Iterable[str], *, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        for name in names:
            await self._servicer.set(name, states.SERVING if serving else states.NOT_SERVING)


def register_reflection(server: grpc.aio.Server) -> None:
    """Registers reflection v1alpha and v1, which differ in name only."""
    names = [
        SERVICE.full_name,
        health.SERVICE_NAME,
        reflection.SERVICE_NAME,
        _REFLECTION_V1,
    ]
    reflection.enable_server_reflection(names, server, _Descriptors())
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names, _Descriptors()).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(_REFLECTION_V1, {"ServerReflectionInfo": handler})]
    )


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
