"""Load reports to clients that balance by load (ORCA): in the trailers of calls, and as a service.

A report in the trailers comes at the end of a call, and a stream may take minutes. Clients with streams
therefore call the service, which sends reports at an interval of their choice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc._cython.cygrpc import ExecuteBatchError
from xds_orca.orca_pb2 import OrcaLoadReportRequest

from tokengrpc.rpc.lifecycle import only_request
from tokengrpc.wire.load_report import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.load_average import LoadReport

TRAILER = "endpoint-load-metrics-bin"
SERVICE_NAME = "xds.service.orca.v3.OpenRcaService"

DEFAULT_INTERVAL = 10.0
MIN_INTERVAL, MAX_INTERVAL = 1.0, 3600.0
"""Bounds of the seconds between two reports that a client may ask for."""
MAX_REPORTS_PER_SECOND = 200
"""Reports of all clients together. With more clients, their intervals get longer."""
MAX_CLIENTS = 2000
"""Clients at once, each of which takes some 25 KiB. Further ones are refused, and try again later."""


class LoadReporting:
    """The service `OpenRcaService`. It asks for no key, because clients' libraries call it on their own."""

    def __init__(self, report: Callable[[], LoadReport]) -> None:
        """Takes a function that returns the current load."""
        self._report = report
        self._clients = 0

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the trailers of a call that ends now."""
        return ((TRAILER, encode(self._report())),)

    def register(self, server: grpc.aio.Server, request_timeout: float) -> None:
        """Registers the service. A call has so many seconds for its request."""

        # A stream of requests, so that the time for the single request has a limit: see `grpc_aio.register`.
        async def stream(_requests: object, context: Any) -> None:  # noqa: ANN401 - generic over messages
            if self._clients >= MAX_CLIENTS:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_CLIENTS} clients get reports")
            self._clients += 1
            try:
                request = await only_request(context, request_timeout)
                while True:
                    await context.write(encode(self._report()))
                    await asyncio.sleep(interval(request, self._clients))
            except ExecuteBatchError:
                # The client left in the middle of a write.
                raise asyncio.CancelledError from None
            finally:
                self._clients -= 1

        handler: grpc.RpcMethodHandler[OrcaLoadReportRequest, bytes] = grpc.stream_stream_rpc_method_handler(
            stream, request_deserializer=OrcaLoadReportRequest.FromString
        )
        methods = {"StreamCoreMetrics": handler}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE_NAME, methods)])


def interval(request: OrcaLoadReportRequest, clients: int) -> float:
    """Returns the seconds until the next report to one of so many clients."""
    asked = request.report_interval.seconds + request.report_interval.nanos / 1e9
    allowed = min(max(asked, MIN_INTERVAL), MAX_INTERVAL) if asked else DEFAULT_INTERVAL
    return max(allowed, clients / MAX_REPORTS_PER_SECOND)
