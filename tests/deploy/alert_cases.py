"""For each alert of deploy/alerts.yml, series with which it fires, and series with which it does not."""

from __future__ import annotations

from tests.deploy.alert_series import (
    ENGINE,
    MODEL,
    SERVER,
    STREAM,
    Case,
    attempts,
    breaker,
    buckets,
    one,
)
from tests.deploy.error_budget_cases import ERROR_BUDGET_CASES

FIRST = "tokengrpc_time_to_first_token_seconds"
WAITING = "tokengrpc_num_requests_waiting"
GAP = "tokengrpc_inter_token_latency_seconds"
CERTIFICATE_END = "tokengrpc_tls_certificate_expiry_timestamp_seconds"
OF_ENGINE = 'model="m",engine="e"'

CASES = (
    *ERROR_BUDGET_CASES,
    Case(
        alert="TokengrpcAbsent",
        severity="critical",
        fires={},
        quiet=one("tokengrpc_build_info", "1x20"),
    ),
    Case(
        alert="TokengrpcTargetDown",
        severity="warning",
        labels=SERVER,
        fires=one("up", "1x15 0x5"),
        quiet=one("up", "1x19 0x1") | {'up{job="other",instance="a:1"}': "0x20"},
    ),
    Case(
        alert="TokengrpcEventLoopFrozen",
        severity="critical",
        labels=SERVER,
        fires=one("tokengrpc_event_loop_heartbeat_age_seconds", "0.02x19 6"),
        quiet=one("tokengrpc_event_loop_heartbeat_age_seconds", "0.02x19 4"),
    ),
    Case(
        alert="TokengrpcEventLoopLate",
        severity="warning",
        labels=SERVER,
        fires=one("tokengrpc_event_loop_lag_seconds", "0.3x20"),
        quiet=one("tokengrpc_event_loop_lag_seconds", "0.2x9 0.3 0.2x10"),
    ),
    Case(
        alert="TokengrpcDrainStuck",
        severity="warning",
        labels=SERVER,
        fires=one("tokengrpc_draining", "0x10 1x10"),
        quiet=one("tokengrpc_draining", "0x16 1x4"),
    ),
    Case(
        alert="TokengrpcMemoryHigh",
        severity="warning",
        labels=SERVER,
        fires=one("process_resident_memory_bytes", "950x20") | one("tokengrpc_memory_limit_bytes", "1000x20"),
        quiet=one("process_resident_memory_bytes", "850x20") | one("tokengrpc_memory_limit_bytes", "1000x20"),
    ),
    Case(
        alert="TokengrpcFewFiles",
        severity="warning",
        labels=SERVER,
        fires=one("process_open_fds", "900x20") | one("process_max_fds", "1024x20"),
        quiet=one("process_open_fds", "800x20") | one("process_max_fds", "1024x20"),
    ),
    Case(
        alert="TokengrpcLogLinesDropped",
        severity="warning",
        labels=SERVER,
        fires=one("tokengrpc_log_lines_dropped_total", "0x15 7x5"),
        quiet=one("tokengrpc_log_lines_dropped_total", "7x20"),
    ),
    Case(
        alert="TokengrpcCertificateExpires",
        severity="warning",
        labels=SERVER,
        fires=one(CERTIFICATE_END, f"{6 * 86400}x20"),
        quiet=one(CERTIFICATE_END, f"{8 * 86400}x20"),
    ),
    Case(
        alert="TokengrpcCertificateExpires",
        severity="critical",
        labels=SERVER,
        fires=one(CERTIFICATE_END, "1100x20"),
        quiet=one(CERTIFICATE_END, "1300x20"),
    ),
    Case(
        alert="TokengrpcStoreUnavailable",
        severity="critical",
        labels=SERVER | {"store": "ledger"},
        fires=one("tokengrpc_store_available", "1x15 0x5", 'store="ledger"'),
        quiet=one("tokengrpc_store_available", "1x15 0 1x4", 'store="ledger"'),
    ),
    Case(
        alert="TokengrpcMemoryOnlyGenerations",
        severity="warning",
        labels=SERVER,
        fires=one("tokengrpc_memory_only_generations", "0x10 3x10"),
        quiet=one("tokengrpc_memory_only_generations", "0x10 3x3 0 3x5"),
    ),
    Case(
        alert="TokengrpcChecksumFailures",
        severity="warning",
        labels=SERVER,
        fires=one("tokengrpc_checksum_failures_total", "0x15 1x5"),
        quiet=one("tokengrpc_checksum_failures_total", "3x20"),
    ),
    Case(
        alert="TokengrpcOverloaded",
        severity="warning",
        labels={"job": "tokengrpc"},
        fires={f'tokengrpc_call_errors_total{{{STREAM},reason="OVERLOADED"}}': "0+6x20"}
        | {f"grpc_server_call_started_total{{{STREAM}}}": "0+100x20"},
        quiet={f'tokengrpc_call_errors_total{{{STREAM},reason="OVERLOADED"}}': "0+4x20"}
        | {f'tokengrpc_call_errors_total{{{STREAM},reason="INVALID_REQUEST"}}': "0+50x20"}
        | {f"grpc_server_call_started_total{{{STREAM}}}": "0+100x20"},
    ),
    Case(
        alert="TokengrpcWaitQueueGrows",
        severity="warning",
        labels=SERVER | MODEL,
        fires=one(WAITING, "1+1x20", 'model="m",priority="batch"'),
        quiet=one(WAITING, "0 1 2 0 4 5 0 7 8 0 10 11 0 13 14 0 16 17 0 19 20", 'model="m",priority="batch"'),
    ),
    Case(
        id="shrinks",
        alert="TokengrpcWaitQueueGrows",
        severity="warning",
        labels=SERVER | MODEL,
        fires=one(WAITING, "1+1x20", 'model="m",priority="batch"'),
        quiet=one(WAITING, "40-1x20", 'model="m",priority="batch"'),
    ),
    Case(
        alert="TokengrpcFirstTokenLate",
        severity="warning",
        labels=MODEL,
        fires=buckets(FIRST, 'model="m"', "0+97x20", "0+100x20", bound="10"),
        quiet=buckets(FIRST, 'model="m"', "0+995x20", "0+1000x20", bound="10"),
    ),
    Case(
        alert="TokengrpcTokensLate",
        severity="warning",
        labels=ENGINE,
        fires=buckets(GAP, OF_ENGINE, "0+97x20", "0+100x20", bound="1"),
        quiet=buckets(GAP, OF_ENGINE, "0+995x20", "0+1000x20", bound="1"),
    ),
    Case(
        alert="TokengrpcModelNotReady",
        severity="critical",
        labels=MODEL,
        fires=one("tokengrpc_model_ready", "1x15 0x5", 'model="m"'),
        quiet=one("tokengrpc_model_ready", "1x15 0x5", 'model="m"')
        | {'tokengrpc_model_ready{job="tokengrpc",instance="b:9090",model="m"}': "1x20"},
    ),
    Case(
        alert="TokengrpcBreakerOpen",
        severity="warning",
        labels=SERVER | ENGINE | {"state": "closed"},
        fires=breaker("1x15 0x5"),
        quiet=breaker("1x15 0 1x4"),
    ),
    Case(
        alert="TokengrpcEngineSilent",
        severity="warning",
        labels=SERVER | ENGINE,
        fires=one("tokengrpc_engine_silent_seconds", "0x17 60 120 180", OF_ENGINE),
        quiet=one("tokengrpc_engine_silent_seconds", "0x17 60 120 100", OF_ENGINE),
    ),
    Case(
        alert="TokengrpcEngineFails",
        severity="warning",
        labels=ENGINE,
        fires=attempts("0+80x20", "0+20x20"),
        quiet=attempts("0+95x20", "0+5x20"),
    ),
    Case(
        alert="TokengrpcCancelsLate",
        severity="warning",
        labels=ENGINE,
        fires=buckets("tokengrpc_cancel_to_engine_seconds", OF_ENGINE, "0+97x20", "0+100x20", bound="1"),
        quiet=buckets("tokengrpc_cancel_to_engine_seconds", OF_ENGINE, "0+995x20", "0+1000x20", bound="1"),
    ),
    Case(
        alert="TokengrpcEngineKeyRefused",
        severity="critical",
        labels=SERVER | ENGINE | {"reason": "ENGINE_AUTH_FAILED"},
        fires=one("tokengrpc_engine_errors_total", "1x15 2x5", f'{OF_ENGINE},reason="ENGINE_AUTH_FAILED"'),
        quiet=one("tokengrpc_engine_errors_total", "0+5x20", f'{OF_ENGINE},reason="ENGINE_LOST"'),
    ),
)
