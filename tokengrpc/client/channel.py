"""Channel settings: defaults that suit long streams. A caller may override each of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

import grpc

from tokengrpc.client.errors import NotAllowedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Token = str | Callable[[], str] | None
"""A token, or a function that returns the current one. It is called before each call, and must not block."""
CallMetadata = Callable[[], tuple[tuple[str, str], ...]]

SERVICE: Final = "tokenstreaming.v1.TokenStream"

# Default timeout, in seconds, of calls that run no generation.
CONTROL_TIMEOUT: Final = 30.0

# Seconds to wait for the trailers of a call after `finished`. The trailers carry no new information, but when
# they arrive, the server has completed its bookkeeping for the generation.
TRAILERS_TIMEOUT: Final = 1.0

# All methods but the streaming ones, which the resume policy repeats: two retry policies on top of each other
# would multiply their attempts. gRPC retries a call only until its first header or message. GenerateText can
# be repeated because the client gives each generation an id.
RETRIED_METHODS: Final = (
    "GenerateText",
    "CancelGeneration",
    "GetGeneration",
    "CountTokens",
    "ListModels",
)

SERVICE_CONFIG: Final[Mapping[str, Any]] = {
    # Calls go to all replicas by turns, past those that are down: with an event store, each serves every
    # generation.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": SERVICE, "method": method} for method in RETRIED_METHODS],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

ONE_REPLICA: Final[Mapping[str, Any]] = {
    **SERVICE_CONFIG,
    "loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}],
}
"""Service config for replicas that share no event store.

Only the replica that runs a generation knows it then, and ResumeTokens and CancelGeneration must reach that
one. Each channel uses one replica, picked at random.
"""

DEFAULT_OPTIONS: Final[Mapping[str, Any]] = {
    # While a call is open, a dead connection is detected within 15 s. A streaming client sends no data, and
    # without data gRPC allows only two pings by default.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    # The keepalive timeout ends as soon as the peer's kernel acknowledges the ping. This one, a minute by
    # default, waits for the peer itself, which may be frozen.
    "grpc.http2.ping_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.http2.max_pings_without_data": 0,
    # Calls fail immediately while the channel waits to reconnect, by default for a second or more. The resume
    # policy has delays of its own.
    "grpc.initial_reconnect_backoff_ms": 50,
    # In spite of its name: how long the peer may take to accept a connection and to speak HTTP/2.
    "grpc.min_reconnect_backoff_ms": 5_000,
    "grpc.max_reconnect_backoff_ms": 500,
    # Messages with many tokens and many logprobs exceed gRPC's default of 4 MiB.
    "grpc.max_receive_message_length": 16 * 1024 * 1024,
}


def channel_target(target: str | Sequence[str]) -> str:
    """Returns the target for gRPC: a name as it is, addresses of replicas as one `ipv4:` or `ipv6:` target.

    Raises ValueError for a URL, which gRPC would try to resolve as a name with every call, and for a list of
    anything but IP addresses of one kind with their ports.
    """
    if isinstance(target, str):
        if target.startswith(("http://", "https://")):
            raise ValueError(f"target: {target} is a URL; pass host:port, and `credentials` for TLS")
        return target
    kinds = {_address_kind(address) for address in target}
    if len(kinds) != 1:
        raise ValueError("target: a list must have addresses, all of IPv4 or all of IPv6")
    return f"{kinds.pop()}:{','.join(target)}"


def _address_kind(address: str) -> str:
    """Returns `ipv4` or `ipv6`."""
    host, _, port = address.rpartition(":")
    with suppress(ValueError):
        if 0 < int(port) < 65536:
            if host.startswith("[") and host.endswith("]"):
                IPv6Address(host[1:-1])
                return "ipv6"
            IPv4Address(host)
            return "ipv4"
    raise ValueError(
        f"target: {address!r} in a list is not an IP address with a port, such as 10.0.0.1:50051 or"
        " [fd00::1]:50051; for names, pass one `dns:///NAME:PORT`, which may have several addresses"
    )


def channel_options(
    options: Sequence[tuple[str, Any]] = (), service_config: str | Mapping[str, Any] | None = None
) -> list[tuple[str, Any]]:
    """Returns the channel options: the defaults, the service config and the caller's `options`.

    `service_config` is JSON text, or a mapping to encode as JSON. The caller's `options` take precedence over
    the other settings, including a `grpc.service_config` among them.
    """
    config = SERVICE_CONFIG if service_config is None else service_config
    merged = {
        **DEFAULT_OPTIONS,
        "grpc.service_config": config if isinstance(config, str) else json.dumps(config),
        **dict(options),
    }
    return list(merged.items())


def call_metadata(token: Token) -> CallMetadata:
    """Returns a function that returns the metadata of the next call: the bearer token, if there is one.

    It raises NotAllowedError if a token's function fails.
    """

    def metadata() -> tuple[tuple[str, str], ...]:
        try:
            text = token() if callable(token) else token
        except Exception as error:
            raise NotAllowedError(
                f"the function that returns the token failed ({type(error).__name__}): see its cause",
                code=grpc.StatusCode.UNAUTHENTICATED,
            ) from error
        return () if text is None else (("authorization", f"Bearer {text}"),)

    return metadata
