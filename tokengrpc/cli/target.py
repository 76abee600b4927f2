"""Server addresses: checks them, and explains why an address does not answer."""

from __future__ import annotations

import re

import typer

from tokengrpc.client.handshakes import Handshake, failed_handshake

DEFAULT_TARGET = "127.0.0.1:50051"

_HOST_PORT = re.compile(r"(dns:(//[^/\s]*/)?)?(\[[^\s/\[\]]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")
_OTHER = re.compile(r"(unix|unix-abstract|ipv4|ipv6|vsock|xds):\S+")

# Texts in gRPC's messages that have a known cause. Other messages are shown as they are.
_NO_SERVER = re.compile(r"Connection refused|No such file")
_UNRESOLVED_NAME = re.compile(r"errors resolving|DNS resolution")
_NOT_ALLOWED = re.compile(r"Permission denied")
_NOT_GRPC = re.compile(r"HTTP/2|http1|SETTINGS|Socket closed|reset by peer")
# What gRPC puts around the words that say why a certificate is refused.
_AROUND_REFUSAL = re.compile(r".*CERTIFICATE_VERIFY_FAILED: |.*UNAUTHENTICATED: |: OK$")


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


def unreachable(target: str, details: str, *, tls: bool = False) -> str:
    """Returns one line about a server that cannot be reached. `details` is the gRPC library's own message.

    `tls` is whether the command has connected with TLS.
    """
    cause = details.rpartition("last error: ")[2]
    handshake = failed_handshake(details)
    if _NO_SERVER.search(cause):
        message = (
            f"no server is listening at {target}: start one with `tokengrpc serve`, "
            "or pass another address with --target"
        )
    elif _UNRESOLVED_NAME.search(cause):
        message = f"the name in {target} cannot be resolved: check it, or pass another address with --target"
    elif _NOT_ALLOWED.search(cause):
        message = f"this user may not connect to {target}: check the permissions of the socket file"
    elif handshake is Handshake.CERTIFICATE_REFUSED:
        why = _AROUND_REFUSAL.sub("", cause).rstrip(".")
        message = (
            f"the certificate of {target} is refused ({why}): "
            "check its names and dates, and name its authority with --ca-file"
        )
    elif handshake is Handshake.WITHOUT_TLS:
        message = (
            f"the server at {target} does not speak TLS: leave out --tls and --ca-file, or check the port"
        )
    elif tls and handshake is Handshake.CLOSED:
        message = (
            f"{target} closes the connection: check the port, or pass a certificate that the server accepts "
            "with --cert-file"
        )
    elif _NOT_GRPC.search(cause):
        plaintext = "gRPC" if tls else "plaintext gRPC"
        hint = "" if tls else ", or pass --tls if it has TLS"
        message = (
            f"the program listening at {target} does not speak {plaintext} ({cause}): check the port{hint}"
        )
    else:
        message = f"{target} cannot be reached ({cause}): check the address"
    return f"UNAVAILABLE: {message}"
