"""Channel arguments of the gRPC server, with the reason for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokengrpc.config import LimitSettings

MAX_METADATA_BYTES = 16 * 1024
_UNLIMITED = 2**31 - 1
_LONGEST_UNACCEPTED_S = 3600


def server_options(limits: LimitSettings) -> list[tuple[str, int]]:
    """Returns the channel arguments of grpc.aio.server. Times are in milliseconds."""
    return [
        ("grpc.max_receive_message_length", limits.max_request_bytes),
        # By default, a connection has two minutes until it must speak HTTP/2.
        ("grpc.server_handshake_timeout_ms", round(limits.handshake_timeout * 1000)),
        # Without a limit, peers that open connections and only answer pings take all descriptors.
        ("grpc.max_connection_idle_ms", round(limits.max_connection_idle * 1000)),
        ("grpc.max_allowed_incoming_connections", limits.max_connections or _UNLIMITED),
        # Calls that a client starts and resets at once wait for the event loop like all others, with 10 KB of
        # memory each. gRPC counts them against this limit until they are gone, and resets what is above it.
        ("grpc.max_concurrent_streams", limits.max_connection_streams),
        # Detects a connection that was cut without a FIN, after 6 to 13 s. Without pings it is never
        # detected.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        # Detects a frozen peer whose kernel still answers. The default is one minute.
        ("grpc.http2.ping_timeout_ms", 5_000),
        # Go clients ping every 10 s, even without streams. The default disconnects them (too_many_pings).
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        # By default gRPC cancels calls at random once 1,000 wait for a handler, and all beyond 3,000, without
        # a reason. Our own admission refuses what is too much, with a reason and a delay.
        ("grpc.server.max_pending_requests", _UNLIMITED),
        ("grpc.server.max_pending_requests_hard_limit", _UNLIMITED),
        # By default a call that was not accepted within 30 s is cancelled without a reason.
        ("grpc.server_max_unrequested_time_in_server", _LONGEST_UNACCEPTED_S),
        # By default gRPC refuses metadata between 8 and 16 KiB at random. Equal bounds make one sharp limit.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # Two servers on one port distribute connections unevenly (grpc#28867), and are mostly a mistake.
        ("grpc.so_reuseport", 0),
    ]
