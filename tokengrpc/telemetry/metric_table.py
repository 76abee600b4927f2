"""All metrics: names, types, labels, meaning and buckets. `docs/metrics.md` has the same table.

Suffixes and buckets are those of vLLM where it has the figure, and gRPC's own (proposal A66) for calls.
Labels have few values: names of models, engines, tenants and methods, reasons, states. Never ids.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tokengrpc.core.inter_token_latency import BOUNDS


class Metric(msgspec.Struct, frozen=True):
    """A metric. `name` is the one that Prometheus shows, but for the endings of histograms."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


def _counter(name: str, labels: str, meaning: str) -> Metric:
    return Metric(name, "counter", tuple(labels.split()), meaning)


def _gauge(name: str, labels: str, meaning: str) -> Metric:
    return Metric(name, "gauge", tuple(labels.split()), meaning)


def _histogram(name: str, labels: str, buckets: tuple[float, ...], meaning: str) -> Metric:
    return Metric(name, "histogram", tuple(labels.split()), meaning, buckets)


_REQUEST_SECONDS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_FIRST_TOKEN_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_CALL_SECONDS = (
    *(0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008),
    *(0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4),
    *(0.5, 0.65, 0.8, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
)
_CANCEL_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    *(5.0, 10.0),
)
_CALL_BYTES = tuple(float(1 << power) for power in (10, 11, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32))

ADMITTED = _counter("tokengrpc_request_admitted_total", "model tenant", "generations that were admitted")
SUCCEEDED = _counter(
    "tokengrpc_request_success_total",
    "model tenant finished_reason",
    "generations that ended without an error, by the finish reason of the contract",
)
FAILED = _counter(
    "tokengrpc_request_failure_total",
    "model tenant reason",
    "admitted generations that ended with an error, by its reason; `CANCELLED` is one",
)
MOVED = _counter(
    "tokengrpc_request_moved_total",
    "model tenant reason",
    "admitted generations that another server continues: `DRAINING` where this one drained, "
    "`STORE_UNAVAILABLE` where it had lost the log",
)
QUEUE_TIME = _histogram(
    "tokengrpc_request_queue_time_seconds",
    "model priority",
    _REQUEST_SECONDS,
    "from admission until an engine accepted the request",
)
FIRST_TOKEN_TIME = _histogram(
    "tokengrpc_time_to_first_token_seconds",
    "model",
    _FIRST_TOKEN_SECONDS,
    "from admission until the first output",
)
INTER_TOKEN_LATENCY = _histogram(
    "tokengrpc_inter_token_latency_seconds",
    "model engine",
    BOUNDS,
    "from one batch of output of an engine to the next, whatever number of tokens it has",
)
LATENCY = _histogram(
    "tokengrpc_e2e_request_latency_seconds",
    "model",
    _REQUEST_SECONDS,
    "from admission until the end, of every generation that an engine accepted",
)
PROMPT_TOKENS = _counter("tokengrpc_prompt_tokens_total", "model tenant", "input tokens of ended generations")
GENERATION_TOKENS = _counter(
    "tokengrpc_generation_tokens_total",
    "model engine tenant",
    "output tokens, also of running generations, a few seconds late; those around a switch may count for"
    " either engine",
)
USAGE = _counter(
    "tokengrpc_usage_tokens_total",
    "model tenant kind source",
    "billed usage of ended generations, by kind (`input`, `output`, `cached_input`, `cache_write_input`,"
    " `reasoning`, `overhead`) and source (`ENGINE`, `COUNTED`, `ESTIMATED`)",
)
ATTEMPTS = _counter(
    "tokengrpc_engine_attempts_total",
    "model engine outcome",
    "calls of engines, by outcome for the circuit breaker (`success`, `failure`, `backoff`, `neutral`)",
)
ATTEMPT_ERRORS = _counter(
    "tokengrpc_engine_errors_total", "model engine reason", "calls of engines that failed, by reason"
)
ENGINE_CANCELS = _counter(
    "tokengrpc_engine_cancels_total",
    "model engine",
    "calls of engines that the server ended, because the generation was cancelled or its time was over",
)
CANCEL_TIME = _histogram(
    "tokengrpc_cancel_to_engine_seconds",
    "model engine",
    _CANCEL_SECONDS,
    "from a caller's cancellation, or the last reader's leaving, until the call of the engine has been ended",
)
RETRIES = _counter(
    "tokengrpc_retries_total",
    "model engine",
    "further calls of an engine for a generation that it had been called for before",
)
FAILOVERS = _counter(
    "tokengrpc_failovers_total",
    "model engine",
    "calls of an engine for a generation after another engine had failed",
)
SWITCHES = _counter(
    "tokengrpc_switches_total",
    "model from_engine to_engine method",
    "outputs that another engine continued, by the method",
)
BREAKER_CHANGES = _counter(
    "tokengrpc_breaker_changes_total", "model engine to", "circuit breakers that became `open` or `closed`"
)
STREAMS = _counter(
    "tokengrpc_streams_total",
    "model opening",
    "streams that began, by what the call did: `start`, `attach` or `resume`",
)
STREAM_FAILURES = _counter(
    "tokengrpc_stream_failures_total",
    "model reason",
    "streams that failed alone, while their generation went on, such as `READER_TOO_SLOW`",
)
CHECKSUM_FAILURES = _counter(
    "tokengrpc_checksum_failures_total", "", "calls whose reader had other output than the server"
)
READERS = _gauge("tokengrpc_readers", "model", "open streams")
STORE_AVAILABLE = _gauge(
    "tokengrpc_store_available",
    "store",
    "1 while the store answers, otherwise 0: `ledger`; and from their first outage on `tenants`, the database"
    " of tenants and keys, and `issuer`, the keys of the issuer of tokens",
)
MEMORY_ONLY = _gauge(
    "tokengrpc_memory_only_generations",
    "",
    "generations with events that the event store does not have (yet)",
)
CALLS_STARTED = _counter("grpc_server_call_started_total", "grpc_method", "calls that have arrived")
CALL_DURATION = _histogram(
    "grpc_server_call_duration_seconds",
    "grpc_method grpc_status",
    _CALL_SECONDS,
    "calls that have ended, with their true status: a caller that left is `CANCELLED`, or"
    " `DEADLINE_EXCEEDED` if its deadline had passed",
)
SENT_BYTES = _histogram(
    "grpc_server_call_sent_total_compressed_message_size_bytes",
    "grpc_method grpc_status",
    _CALL_BYTES,
    "bytes of the messages sent in a call; the server compresses none",
)
RECEIVED_BYTES = _histogram(
    "grpc_server_call_rcvd_total_compressed_message_size_bytes",
    "grpc_method grpc_status",
    _CALL_BYTES,
    "bytes of the messages received in a call, after decompression, which callers seldom use",
)
CALL_ERRORS = _counter(
    "tokengrpc_call_errors_total",
    "grpc_method reason",
    "calls that the server ended with an error",
)
LIMIT_REJECTIONS = _counter(
    "tokengrpc_limit_rejections_total",
    "tenant limit",
    "calls that ended because of a limit of their tenant: `max_generations`, `requests_per_minute`,"
    " `tokens_per_minute`, `budget_day` or `budget_month`",
)
BUDGET_USED = _gauge(
    "tokengrpc_budget_used_ratio",
    "tenant period currency model",
    "share of a budget that ended generations used, when a part of it was leased last; not of budgets by"
    " label, nor of tenants without a label of their own",
)

GENERATIONS = _gauge("tokengrpc_generations", "", "running generations")
RUNNING = _gauge("tokengrpc_num_requests_running", "model engine", "calls of engines that run")
WAITING = _gauge(
    "tokengrpc_num_requests_waiting",
    "model priority",
    "generations that wait for a slot on an engine, by priority (`interactive`, `standard`, `batch`)",
)
BREAKER_STATE = _gauge(
    "tokengrpc_breaker_state",
    "model engine state",
    "1 for the circuit breaker's state, 0 for the others of `closed`, `open` and `half_open`",
)
MODEL_READY = _gauge(
    "tokengrpc_model_ready",
    "model",
    "1 while an engine of the model makes progress: its circuit breaker is closed, and it is not silent",
)
SILENT = _gauge(
    "tokengrpc_engine_silent_seconds",
    "model engine",
    "for how long the engine has sent no output although it is being called; 0 otherwise",
)
MAX_GENERATIONS = _gauge(
    "tokengrpc_max_generations", "", "generations that may run (`limits.max_generations`)"
)
REJECTIONS = _counter(
    "tokengrpc_capacity_rejections_total",
    "cause",
    "generations that were rejected because the server was at capacity, by the `cause` in the error",
)
CORE_WAIT = _gauge(
    "tokengrpc_core_wait_ratio", "", "share of the last second in which the event loop waited for a core"
)
CORE_FORECAST = _gauge(
    "tokengrpc_core_forecast_ratio", "", "share of a core that the running generations are expected to need"
)
LOG_BYTES = _gauge("tokengrpc_log_bytes", "", "bytes of events that are kept for readers")
MAX_LOG_BYTES = _gauge(
    "tokengrpc_max_log_bytes", "", "bytes of events that may be kept for readers (`limits.total_log_bytes`)"
)
MEMORY_LIMIT = _gauge(
    "tokengrpc_memory_limit_bytes",
    "",
    "memory of the process's control group, or of the machine",
)
LOG_LINES_DROPPED = _counter(
    "tokengrpc_log_lines_dropped_total", "", "log lines that were dropped, because stderr did not take them"
)
SPANS_DROPPED = _counter(
    "tokengrpc_spans_dropped_total",
    "",
    "spans that were dropped, because the collector did not take them in time (`otlp`)",
)
CERTIFICATE_END = _gauge(
    "tokengrpc_tls_certificate_expiry_timestamp_seconds",
    "",
    "when the server's certificate expires, or one of its chain if that is sooner, in seconds since 1970;"
    " only with TLS",
)
LOOP_LAG = _gauge("tokengrpc_event_loop_lag_seconds", "", "how late the event loop ran its last heartbeat")
HEARTBEAT_AGE = _gauge(
    "tokengrpc_event_loop_heartbeat_age_seconds", "", "time since the event loop's last heartbeat"
)
DRAINING = _gauge("tokengrpc_draining", "", "1 from the beginning of the drain, otherwise 0")
BUILD_INFO = _gauge("tokengrpc_build_info", "version python grpcio", "always 1")

COUNTED = (
    *(ADMITTED, SUCCEEDED, FAILED, MOVED, QUEUE_TIME, FIRST_TOKEN_TIME, LATENCY, PROMPT_TOKENS),
    *(GENERATION_TOKENS, USAGE, ATTEMPTS, ATTEMPT_ERRORS, ENGINE_CANCELS, CANCEL_TIME, RETRIES, FAILOVERS),
    *(SWITCHES, BREAKER_CHANGES, STREAMS, STREAM_FAILURES, CHECKSUM_FAILURES, READERS, STORE_AVAILABLE),
    *(CALLS_STARTED, CALL_DURATION, SENT_BYTES, RECEIVED_BYTES, CALL_ERRORS),
    *(LIMIT_REJECTIONS, BUDGET_USED),
)
"""Metrics that the observer counts."""

READ = (
    *(INTER_TOKEN_LATENCY, GENERATIONS, MAX_GENERATIONS, RUNNING, WAITING, REJECTIONS, BREAKER_STATE),
    *(MODEL_READY, SILENT, LOG_BYTES, MAX_LOG_BYTES, MEMORY_LIMIT, CORE_WAIT, CORE_FORECAST, LOOP_LAG),
    *(HEARTBEAT_AGE, LOG_LINES_DROPPED, SPANS_DROPPED, CERTIFICATE_END, DRAINING, BUILD_INFO),
    MEMORY_ONLY,
)
"""Metrics that are read from the server when somebody asks for them."""
