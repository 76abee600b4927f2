"""gRPC server of the admin port: health that follows the server's status, channelz, and reflection.

It is a synchronous server, because it must not share an event loop, nor grpc.aio's poller, with the calls.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
from grpc_channelz.v1 import channelz
from grpc_channelz.v1.channelz_pb2 import DESCRIPTOR as CHANNELZ
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from tokengrpc.admin.health import WATCH, AdminHealth
from tokengrpc.admin.time_limit import TimeLimit
from tokengrpc.generations.status import Phase
from tokengrpc.rpc.lifecycle import LIVENESS, READY_NAMES

if TYPE_CHECKING:
    from tokengrpc.generations.status import ServerStatus

_INTERVAL = 0.25
"""Seconds between two looks at the status."""
_THREADS = 16
_CALL_TIMEOUT = 5.0
"""Seconds that a call may hold a thread."""
_MAX_CALLS = 4000
"""Calls at once, with those that wait for a thread."""
_STOP_GRACE = 0.5
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    # Ends the watches of peers that were cut off without a FIN.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class AdminGrpcServer:
    """Server of `grpc.health.v1`, channelz and reflection, on threads of its own.

    Health knows the names of the server's own health service, and `model/NAME` for each model.
    """

    def __init__(self, address: str, status: ServerStatus) -> None:
        """Listens on HOST:PORT. Raises RuntimeError."""
        self._status = status
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="admin-grpc")
        self._server = grpc.server(
            self._threads,
            interceptors=[TimeLimit(_CALL_TIMEOUT, without={WATCH})],
            options=_OPTIONS,
            maximum_concurrent_rpcs=_MAX_CALLS,
        )
        self._health = AdminHealth(self._states)
        self._health.register(self._server)
        channelz.add_channelz_servicer(self._server)
        names = [service.full_name for service in CHANNELZ.services_by_name.values()]
        names += [health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)
        self.port = self._server.add_insecure_port(address)
        self._stopping = threading.Event()
        self._updater = threading.Thread(target=self._keep_updated, name="admin-health", daemon=True)

    def start(self) -> None:
        """Starts to answer."""
        self._server.start()
        self._updater.start()

    def stop(self) -> None:
        """Stops, and ends all watches. Takes up to half a second."""
        self._stopping.set()
        self._updater.join()
        self._server.stop(_STOP_GRACE).wait()
        self._threads.shutdown()
        self._health.close()

    def update(self) -> None:
        """Shows what has changed, and so tells those who watch it. For any thread."""
        self._health.update()

    def _keep_updated(self) -> None:
        while not self._stopping.wait(_INTERVAL):
            self.update()

    def _states(self) -> dict[str, bool]:
        status = self._status
        accepting = status.phase is Phase.SERVING
        models = {f"model/{model.name}": accepting and model.ready for model in status.models()}
        return {**dict.fromkeys(READY_NAMES, status.ready), LIVENESS: status.alive, **models}
