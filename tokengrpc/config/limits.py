"""Settings that limit the server and every generation. Durations are in seconds, sizes in bytes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tokengrpc.config.values import Bytes, ConfigError, Count, CountOrNone, Seconds, SecondsOrNone, Share


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the server and of every generation."""

    max_request_bytes: Annotated[Bytes, Meta(description="maximum size of a request, in bytes")] = 1 << 20
    request_timeout: Annotated[
        Seconds, Meta(description="how long a call may take to send its request, in seconds")
    ] = 30.0
    max_awaited_requests: Annotated[
        Count, Meta(description="maximum calls whose request has not arrived yet")
    ] = 8192
    handshake_timeout: Annotated[
        Seconds, Meta(description="how long a new connection may take until it speaks HTTP/2, in seconds")
    ] = 10.0
    max_connections: Annotated[
        CountOrNone, Meta(description="maximum connections of callers; 0: no limit")
    ] = 8192
    max_connection_streams: Annotated[
        Count, Meta(description="maximum concurrent calls of a connection; its client queues further ones")
    ] = 1000
    max_connection_idle: Annotated[
        Seconds, Meta(description="a connection without calls is closed after this long, in seconds")
    ] = 300.0
    max_generations: Annotated[Count, Meta(description="maximum concurrent generations")] = 4096
    min_generations: Annotated[
        CountOrNone,
        Meta(description="concurrent generations that are admitted however busy the process is"),
    ] = 64
    max_loop_lag: Annotated[
        SecondsOrNone,
        Meta(description="maximum lag of the event loop for new generations, in seconds; 0: no limit"),
    ] = 0.1
    max_core_share: Annotated[
        Share,
        Meta(description="maximum share of a core that all generations need by forecast; 0: no limit"),
    ] = 0.95
    max_core_wait: Annotated[
        Share,
        Meta(
            description="maximum share of the time that the process waits for a core, for new generations; "
            "0: no limit"
        ),
    ] = 0.5
    max_start_wait: Annotated[
        SecondsOrNone,
        Meta(description="a call that may have waited longer to start is rejected, in seconds; 0: no limit"),
    ] = 0.25
    max_queue_length: Annotated[
        CountOrNone,
        Meta(description="maximum requests that wait for an engine, of all models; 0: no limit"),
    ] = 1024
    max_queue_time: Annotated[
        SecondsOrNone,
        Meta(description="how long a request may wait for an engine, in seconds; 0: until its timeouts pass"),
    ] = 60.0
    max_readers: Annotated[Count, Meta(description="maximum concurrent readers of a generation")] = 64
    max_output_token_count: Annotated[
        CountOrNone, Meta(description="maximum output tokens of a generation; 0: no limit")
    ] = 0
    max_time_limit: Annotated[Seconds, Meta(description="maximum duration of a generation, in seconds")] = (
        3600.0
    )
    connect_timeout: Annotated[
        Seconds, Meta(description="maximum connect_timeout of an engine, in seconds")
    ] = 30.0
    first_token_timeout: Annotated[Seconds, Meta(description="timeout for the first token, in seconds")] = (
        120.0
    )
    inter_token_timeout: Annotated[Seconds, Meta(description="timeout between tokens, in seconds")] = 60.0
    detach_ttl: Annotated[
        Seconds,
        Meta(description="how long a detached generation waits for a reader by default, in seconds"),
    ] = 30.0
    max_detach_ttl: Annotated[
        Seconds, Meta(description="maximum detach_ttl that a request may set, in seconds")
    ] = 300.0
    replay_ttl: Annotated[
        Seconds,
        Meta(description="how long events are kept after a generation's end by default, in seconds"),
    ] = 60.0
    max_replay_ttl: Annotated[
        Seconds, Meta(description="maximum replay_ttl that a request may set, in seconds")
    ] = 600.0
    generation_log_bytes: Annotated[
        Bytes, Meta(description="maximum size of a generation's kept events, in bytes")
    ] = 8 << 20
    total_log_bytes: Annotated[Bytes, Meta(description="maximum size of all kept events, in bytes")] = (
        512 << 20
    )
    write_stall_timeout: Annotated[
        Seconds, Meta(description="a stream ends if its reader reads nothing for this long, in seconds")
    ] = 30.0
    heartbeat_interval: Annotated[
        Seconds, Meta(description="interval of heartbeats on a stream without events, in seconds")
    ] = 15.0
    flush_interval: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="minimum time between two messages of output, if the request names none, in "
            "seconds; 0: none",
        ),
    ] = 0.0
    queue_heartbeat_interval: Annotated[
        Seconds,
        Meta(
            description="interval of heartbeats until an engine has accepted the request, in seconds, if "
            "shorter than heartbeat_interval"
        ),
    ] = 5.0
    max_engine_attempts: Annotated[
        int, Meta(ge=1, le=100, description="maximum attempts of a request before its first token")
    ] = 3
    drain_time: Annotated[
        SecondsOrNone, Meta(description="graceful shutdown period after SIGTERM, in seconds")
    ] = 30.0
    withdrawal_time: Annotated[
        SecondsOrNone,
        Meta(
            description="how long calls are still accepted after SIGTERM, before the drain, while health "
            "checks say NOT_SERVING, in seconds; only with an event store"
        ),
    ] = 3.0
    store_timeout: Annotated[Seconds, Meta(description="timeout of one store call, in seconds")] = 2.0
    store_retry_time: Annotated[
        Seconds, Meta(description="how long a failing store call is repeated, in seconds")
    ] = 10.0
    tenant_outage_time: Annotated[
        SecondsOrNone,
        Meta(
            description="how long tenants and keys of the database stay valid while it cannot be read, in "
            "seconds"
        ),
    ] = 300.0
    max_unacknowledged_bytes: Annotated[
        Bytes,
        Meta(description="maximum size of a generation's events not yet stored in the event store, in bytes"),
    ] = 4 << 20
    checkpoint_interval: Annotated[
        SecondsOrNone,
        Meta(description="interval of usage checkpoints in a durable ledger, in seconds; 0: none"),
    ] = 0.25
    cancel_wait: Annotated[
        Seconds, Meta(description="how long CancelGeneration waits for the end, in seconds")
    ] = 5.0

    def __post_init__(self) -> None:
        """Checks that no default is above its maximum."""
        for low, high in _PAIRS:
            if getattr(self, low) > (most := getattr(self, high)):
                raise ConfigError(f"{low}: must be at most {high}, which is {most:g}")


_PAIRS = (
    ("detach_ttl", "max_detach_ttl"),
    ("replay_ttl", "max_replay_ttl"),
    ("generation_log_bytes", "total_log_bytes"),
)
