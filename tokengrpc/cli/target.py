"""Server addresses: checks them, and explains why an address does not answer."""

from __future__ import annotations

import re

import typer

DEFAULT_TARGET = "127.0.0.1:50051"

_HOST_PORT = re.compile(r"(dns:(//[^/\s]*/)?)?(\[[^\s/\[\]]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")
_OTHER = re.compile(r"(unix|unix-abstract|ipv4|ipv6|vsock|xds):\S+")

# Texts in gRPC's messages that have a known cause. Other messages are shown as they are.
_NO_SERVER = re.compile(r"Connection refused|No such file")
_UNRESOLVED_NAME = re.compile(r"errors resolving|DNS resolution")
_NOT_GRPC = re.compile(r"HTTP/2|http1|SETTINGS|Socket closed|reset by peer")


def check_target(target: str) -> str:
    """Returns a valid target unchanged.

    Raises BadParameter for any other, which gRPC would try to resolve as a name without success.
    """
    address = _HOST_PORT.fullmatch(target)
    if (address and 0 < int(address["port"]) < 65_536) or (not address and _OTHER.fullmatch(target)):
        return target
    raise typer.BadParameter(
        f"must be HOST:PORT, such as {DEFAULT_TARGET}, "
        "or a gRPC target such as dns:///name:50051 or unix:/path",
        param_hint="--target (or TOKENGRPC_TARGET)",
    )


def unreachable(target: str, details: str) -> str:
    """Returns one line about a server that cannot be reached. `details` is the gRPC library's own message."""
    cause = details.rpartition("last error: ")[2]
    if _NO_SERVER.search(cause):
        message = (
            f"no server is listening at {target}: start one with `tokengrpc serve`, "
            "or pass another address with --target"
        )
    elif _UNRESOLVED_NAME.search(cause):
        message = f"the name in {target} cannot be resolved: check it, or pass another address with --target"
    elif _NOT_GRPC.search(cause):
        message = f"the program listening at {target} does not speak plaintext gRPC ({cause}): check the port"
    else:
        message = f"{target} cannot be reached ({cause}): check the address"
    return f"UNAVAILABLE: {message}"
