"""Binds a server to its address, and says what to do if that fails."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tokengrpc.config import ConfigError

if TYPE_CHECKING:
    import grpc

_UNIX = "unix:"
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """Binds a server to HOST:PORT or unix:/PATH. Returns the port; 0 for a Unix socket.

    Without `credentials`, and on a Unix socket, it speaks plaintext. A socket file that no process serves any
    more is replaced. gRPC removes the file when the server stops.
    Raises ConfigError if the server cannot be bound.
    """
    if address.startswith(_UNIX):
        return _listen_on_file(server, address)
    try:
        if credentials is not None:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(
            f"listen: {address} is in use or is not an address of this machine;"
            f" choose another one with --listen HOST:PORT{_hint(address)}"
        ) from error


def _listen_on_file(server: grpc.aio.Server, address: str) -> int:
    path = Path(address.removeprefix(_UNIX))
    try:
        # gRPC takes the file of any socket for its own, also while another server listens on it.
        served = path.is_socket() and _is_served(path)
    except PermissionError as error:
        cause = f"this user may not enter {path.parent}; check its permissions"
        raise ConfigError(f"listen: {address} cannot be created: {cause}") from error
    if served:
        raise ConfigError(f"listen: another process listens on {address}; choose another path")
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(f"listen: {address} cannot be created: {_why_not(path)}") from error
    return 0


def _is_served(path: Path) -> bool:
    """Returns whether a process listens on a socket file, or whether that cannot be known."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.setblocking(False)  # a full backlog is an answer as well
        try:
            peer.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _why_not(path: Path) -> str:
    """Returns what prevents a socket file, and what to do."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}; create it"
    if path.exists() and not path.is_socket():
        return "the file exists and is no socket; choose another path"
    return f"no socket can be made in {path.parent}; check its permissions"


def _hint(address: str) -> str:
    """Returns a hint for a port without a listener: an outgoing connection may hold it, even an ended one."""
    host, _, port = address.rpartition(":")
    with suppress(OSError, ValueError):
        lowest, highest = map(int, _RANGE.read_text().split())
        if lowest <= int(port) <= highest and not _answers(host.strip("[]"), int(port)):
            return (
                f". Outgoing connections take ports from {lowest} to {highest}, and hold them for a minute"
                " after their end: no port below is taken that way"
            )
    return ""


def _answers(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
