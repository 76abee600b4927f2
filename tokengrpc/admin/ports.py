"""The admin ports of a server, as its settings ask for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.admin.debug import Debug
from tokengrpc.admin.http import AdminHttpServer
from tokengrpc.admin.pages import Pages
from tokengrpc.admin.services import AdminGrpcServer
from tokengrpc.config import ConfigError

if TYPE_CHECKING:
    from tokengrpc.config import Settings
    from tokengrpc.generations.status import ServerStatus
    from tokengrpc.telemetry.metrics import Metrics


class AdminPorts:
    """HTTP server of the admin pages, and gRPC server of health and channelz.

    They have a port each, because gRPC's library does not share its port with another protocol. Each is there
    only if its setting, `admin_listen` or `admin_grpc_listen`, is not empty.
    """

    def __init__(self, settings: Settings, status: ServerStatus, metrics: Metrics | None) -> None:
        self._settings = settings
        self._status = status
        self._metrics = metrics
        self._http: AdminHttpServer | None = None
        self._grpc: AdminGrpcServer | None = None

    @property
    def http_port(self) -> int:
        """Port of the admin pages; 0 if there are none."""
        return 0 if self._http is None else self._http.port

    @property
    def grpc_port(self) -> int:
        """Port of health and channelz; 0 if there are none."""
        return 0 if self._grpc is None else self._grpc.port

    @property
    def addresses(self) -> dict[str, str]:
        """Addresses of the ports that are open, by setting."""
        ports = {"admin_listen": self.http_port, "admin_grpc_listen": self.grpc_port}
        return {name: _bound(getattr(self._settings, name), port) for name, port in ports.items() if port}

    def start(self) -> None:
        """Starts to answer. Called on the event loop whose heartbeat counts. Raises ConfigError."""
        settings, status = self._settings, self._status
        if self._metrics is not None:
            host, port = _parts(settings.admin_listen)
            debug = Debug(settings, status, asyncio.get_running_loop())
            pages = Pages(status, self._metrics, debug.show).by_path
            try:
                self._http = AdminHttpServer(host, port, pages)
            except OSError as error:
                raise _unavailable("admin_listen", settings.admin_listen) from error
            self._http.start()
        if settings.admin_grpc_listen:
            try:
                self._grpc = AdminGrpcServer(settings.admin_grpc_listen, status)
            except RuntimeError as error:
                raise _unavailable("admin_grpc_listen", settings.admin_grpc_listen) from error
            self._grpc.start()

    def update(self) -> None:
        """Shows a new phase of the server at once. Other changes are noticed."""
        if self._grpc is not None:
            self._grpc.update()

    async def stop(self) -> None:
        """Stops, if it was started."""
        if self._http is not None:
            await asyncio.to_thread(self._http.stop)
            self._http = None
        if self._grpc is not None:
            await asyncio.to_thread(self._grpc.stop)
            self._grpc = None


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _bound(address: str, port: int) -> str:
    """Returns an address with the port that was chosen, if it has port 0."""
    return f"{address.rpartition(':')[0]}:{port}"


def _unavailable(key: str, address: str) -> ConfigError:
    flag = key.replace("_", "-")
    return ConfigError(
        f"{key}: {address} is in use or is not an address of this machine; choose another one with"
        f" --{flag} HOST:PORT"
    )
