"""How the gRPC server is set up, with the reason for each choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokengrpc.config import LimitSettings


def server_options(limits: LimitSettings) -> list[tuple[str, int]]:
    """Channel arguments of grpc.aio.server. Times are milliseconds."""
    return [
        ("grpc.max_receive_message_length", limits.max_request_bytes),
        # A link that was cut without a FIN is seen after 6 to 13 s; without pings, never.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        # A frozen peer, whose kernel still answers, is seen by this one; by default after a minute.
        ("grpc.http2.ping_timeout_ms", 5_000),
        # Go clients ping every 10 s, streams or not; by default they would be sent away (too_many_pings).
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        # Two servers on one port would share its connections badly (grpc#28867) and hide a mistake.
        ("grpc.so_reuseport", 0),
    ]
