"""How channels are opened: defaults that suit long streams, each of which a caller may override."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SERVICE: Final = "tokenstreaming.v1.TokenStream"

# Seconds for calls that run no generation.
CONTROL_TIMEOUT: Final = 30.0

# Seconds to wait for a call's trailers once its generation has finished: they say nothing new, but the
# server has closed its books when they come.
TRAILERS_TIMEOUT: Final = 1.0

# All but the streams, whose repetition the resume policy decides: two policies on top of each other would
# multiply their attempts. A retry policy covers a call only until its first header or message; the id that
# the client gives makes GenerateText idempotent.
RETRIED_METHODS: Final = (
    "GenerateText",
    "CancelGeneration",
    "GetGeneration",
    "CountTokens",
    "ListModels",
)

SERVICE_CONFIG: Final[Mapping[str, Any]] = {
    # A generation is known only to the replica that runs it, and resuming and cancelling must find it there:
    # one replica per channel, drawn by chance.
    "loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}],
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

DEFAULT_OPTIONS: Final[Mapping[str, Any]] = {
    # A link that was cut without a word is noticed after 30 s while a call is open. A reader sends no data,
    # which by default would allow only two pings.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.http2.max_pings_without_data": 0,
    # Calls fail at once while the channel waits to connect again: by default for a second and more, in
    # which the resume policy would use up its attempts.
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.min_reconnect_backoff_ms": 5_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # Many tokens with many logprobs are more than gRPC's 4 MiB.
    "grpc.max_receive_message_length": 16 * 1024 * 1024,
}


def channel_options(
    options: Sequence[tuple[str, Any]] = (), service_config: str | Mapping[str, Any] | None = None
) -> list[tuple[str, Any]]:
    """The options of a channel: the defaults, the service config, the caller's own.

    `service_config` is JSON text or its content. What the caller sets wins, an own `grpc.service_config`
    among `options` included.
    """
    config = SERVICE_CONFIG if service_config is None else service_config
    merged = {
        **DEFAULT_OPTIONS,
        "grpc.service_config": config if isinstance(config, str) else json.dumps(config),
        **dict(options),
    }
    return list(merged.items())


def call_metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata of every call: the bearer token, where there is one."""
    return () if token is None else (("authorization", f"Bearer {token}"),)
