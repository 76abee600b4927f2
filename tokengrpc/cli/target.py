"""Where a server is: which addresses make sense, and what is wrong with one that does not answer."""

from __future__ import annotations

import re

import typer

DEFAULT_TARGET = "127.0.0.1:50051"

_HOST_PORT = re.compile(r"(dns:(//[^/\s]*/)?)?(\[[^\s/\[\]]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")
_OTHER = re.compile(r"(unix|unix-abstract|ipv4|ipv6|vsock|xds):\S+")

# What gRPC saw, and what it means; anything else is passed on.
_NO_SERVER = re.compile(r"Connection refused|No such file")
_NO_NAME = re.compile(r"errors resolving|DNS resolution")
_NO_GRPC = re.compile(r"HTTP/2|http1|SETTINGS|Socket closed|reset by peer")


def check_target(target: str) -> str:
    """Raises BadParameter for what gRPC would take for a name that it then cannot find."""
    address = _HOST_PORT.fullmatch(target)
    if (address and 0 < int(address["port"]) < 65_536) or (not address and _OTHER.fullmatch(target)):
        return target
    raise typer.BadParameter(
        f"must be HOST:PORT, such as {DEFAULT_TARGET}, "
        "or a gRPC target such as dns:///name:50051 or unix:/path",
        param_hint="--target (or TOKENGRPC_TARGET)",
    )


def unreachable(target: str, seen: str) -> str:
    """A line about a server that does not answer; `seen` is gRPC's own text."""
    cause = seen.rpartition("last error: ")[2]
    if _NO_SERVER.search(cause):
        told = (
            f"no server answers at {target}. Start one with `tokengrpc serve`, or name another with --target"
        )
    elif _NO_NAME.search(cause):
        told = f"the name in {target} cannot be resolved: check it, or name another with --target"
    elif _NO_GRPC.search(cause):
        told = f"what listens at {target} speaks no gRPC without TLS ({cause}): check the port"
    else:
        told = f"{target} cannot be reached ({cause}): check the address"
    return f"UNAVAILABLE: {told}"
