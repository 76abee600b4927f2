"""The metrics that `tokengrpc top` reads, with the labels that it keeps; over other labels, it adds up.

docs/metrics.md says what each of them means.
"""

from __future__ import annotations

from typing import Final

Series = tuple[str, tuple[str, ...]]
"""A metric's name, and the values of the labels that are kept."""

ADMITTED: Final = "tokengrpc_request_admitted_total"
SUCCEEDED: Final = "tokengrpc_request_success_total"
FAILED: Final = "tokengrpc_request_failure_total"
TOKENS: Final = "tokengrpc_generation_tokens_total"
ENGINE_ERRORS: Final = "tokengrpc_engine_errors_total"
BREAKER_CHANGES: Final = "tokengrpc_breaker_changes_total"
STREAMS_STARTED: Final = "tokengrpc_streams_total"
STREAM_FAILURES: Final = "tokengrpc_stream_failures_total"
CALL_ERRORS: Final = "tokengrpc_call_errors_total"
FIRST_TOKEN: Final = "tokengrpc_time_to_first_token_seconds_bucket"  # noqa: S105 - a metric's name
INTER_TOKEN: Final = "tokengrpc_inter_token_latency_seconds_bucket"  # noqa: S105 - a metric's name

COUNTERS: Final = {
    ADMITTED: ("model",),
    SUCCEEDED: ("model",),
    FAILED: ("model", "reason"),
    TOKENS: ("model", "engine"),
    ENGINE_ERRORS: ("model", "engine", "reason"),
    BREAKER_CHANGES: ("model", "engine", "to"),
    STREAMS_STARTED: ("model",),
    STREAM_FAILURES: ("model", "reason"),
    CALL_ERRORS: ("reason",),
    FIRST_TOKEN: ("model", "le"),
    INTER_TOKEN: ("model", "engine", "le"),
}
"""Counters, the buckets of histograms among them. They begin at 0 when a server starts."""

READERS: Final = "tokengrpc_readers"
RUNNING: Final = "tokengrpc_num_requests_running"
WAITING: Final = "tokengrpc_num_requests_waiting"
BREAKER_STATE: Final = "tokengrpc_breaker_state"
MODEL_READY: Final = "tokengrpc_model_ready"
LOOP_LAG: Final = "tokengrpc_event_loop_lag_seconds"
HEARTBEAT_AGE: Final = "tokengrpc_event_loop_heartbeat_age_seconds"
DRAINING: Final = "tokengrpc_draining"
STORE_AVAILABLE: Final = "tokengrpc_store_available"
BUILD_INFO: Final = "tokengrpc_build_info"
START_TIME: Final = "process_start_time_seconds"

GAUGES: Final = {
    READERS: ("model",),
    RUNNING: ("model", "engine"),
    WAITING: ("model",),
    BREAKER_STATE: ("model", "engine", "state"),
    MODEL_READY: ("model",),
    LOOP_LAG: (),
    HEARTBEAT_AGE: (),
    DRAINING: (),
    STORE_AVAILABLE: ("store",),
    BUILD_INFO: ("version",),
    START_TIME: (),
}
"""Gauges. The start time of a process exists on Linux only."""

KEPT: Final = COUNTERS | GAUGES
