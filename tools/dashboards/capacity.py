"""Capacity: what each server uses, of what it may use, and whom it rejects."""

from __future__ import annotations

from tools.dashboards.page import Page
from tools.dashboards.panels import Chart, Query, Rows, States
from tools.dashboards.queries import highest, lowest, quantile, rate, select, total

CERTIFICATE_END = "tokengrpc_tls_certificate_expiry_timestamp_seconds"

PAGE = Page(
    uid="tokengrpc-capacity",
    title="tokengrpc / capacity",
    meaning="What each server of tokengrpc uses, of what it may use, and whom it rejects.",
    rows={
        "Event loop and cores": [
            Chart(
                title="Event loop lag",
                meaning="How late the event loop ran its last heartbeat: each token is as late.",
                unit="s",
                queries=[Query(total("tokengrpc_event_loop_lag_seconds", "instance"))],
            ),
            Chart(
                title="Event loop heartbeat age",
                meaning="Time since the last heartbeat. Above 5 s, /healthz answers 503.",
                unit="s",
                queries=[Query(total("tokengrpc_event_loop_heartbeat_age_seconds", "instance"))],
            ),
            Chart(
                title="Cores used",
                meaning="CPU time a second of all threads. The event loop can use one core.",
                unit="none",
                queries=[Query(rate("process_cpu_seconds_total", "instance"))],
            ),
            Chart(
                title="Wait for a core",
                meaning="Share of the time in which the event loop waited for a core.",
                unit="percentunit",
                queries=[Query(total("tokengrpc_core_wait_ratio", "instance"))],
            ),
            Chart(
                title="Forecast of the core",
                meaning="Share of a core that the running generations are expected to need.",
                unit="percentunit",
                queries=[Query(total("tokengrpc_core_forecast_ratio", "instance"))],
            ),
            Rows(
                title="Servers",
                meaning="Versions of the running servers.",
                query=select("tokengrpc_build_info"),
                columns=("job", "instance", "version", "python", "grpcio"),
            ),
        ],
        "Generations and rejections": [
            Chart(
                title="Running generations",
                meaning="Beside the limit, limits.max_generations.",
                unit="none",
                queries=[
                    Query(total("tokengrpc_generations", "instance"), "{{instance}}"),
                    Query(total("tokengrpc_max_generations", "instance"), "{{instance}} limit"),
                ],
            ),
            Chart(
                title="Generations that wait for an engine",
                meaning="By model.",
                unit="none",
                queries=[Query(total("tokengrpc_num_requests_waiting", "model"))],
            ),
            Chart(
                title="Rejected because at capacity",
                meaning="By cause, as in the error's metadata: docs/operations.md, Overload.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_capacity_rejections_total", "cause"))],
                stacked=True,
            ),
            Chart(
                title="Errors of calls by reason",
                meaning="All of them, among which OVERLOADED, QUOTA_EXCEEDED and DRAINING are rejections.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_call_errors_total", "reason"))],
                stacked=True,
            ),
            States(
                title="Draining",
                meaning="Servers that have received SIGTERM.",
                query=Query(f"1 - {total('tokengrpc_draining', 'instance')}", "{{instance}}"),
                names=("draining", "serving"),
            ),
            States(
                title="Stores",
                meaning="Whether the stores of each server answer.",
                query=Query(
                    total("tokengrpc_store_available", "instance", "store"), "{{instance}} {{store}}"
                ),
                names=("unavailable", "available"),
            ),
            Chart(
                title="Generations in memory only",
                meaning="Generations with events that the event store does not have.",
                unit="none",
                queries=[Query(total("tokengrpc_memory_only_generations", "instance"), "{{instance}}")],
            ),
        ],
        "Tenants and their limits": [
            Chart(
                title="Ended by a limit of the tenant",
                meaning="Calls that were refused or ended, by tenant and limit: docs/limits.md.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_limit_rejections_total", "tenant", "limit"))],
                stacked=True,
            ),
            Chart(
                title="Budgets used",
                meaning="Share that ended generations used, of each budget that is not by label.",
                unit="percentunit",
                queries=[
                    Query(
                        highest("tokengrpc_budget_used_ratio", "tenant", "period", "currency", "model"),
                        "{{tenant}} {{period}} {{currency}} {{model}}",
                    )
                ],
            ),
            Chart(
                title="Generations that wait, by priority",
                meaning="Interactive ones go first, then standard, then batch: docs/failover.md, Wait queue.",
                unit="none",
                queries=[Query(total("tokengrpc_num_requests_waiting", "priority"))],
                stacked=True,
            ),
            Chart(
                title="Wait for an engine, p99 by priority",
                meaning="From admission until an engine accepted the request.",
                unit="s",
                queries=[Query(quantile(0.99, "tokengrpc_request_queue_time_seconds", "priority"))],
            ),
            Chart(
                title="Certificate expires in",
                meaning="Of servers with TLS; negative once it has expired.",
                unit="s",
                queries=[Query(f"{lowest(CERTIFICATE_END, 'instance')} - time()", "{{instance}}")],
            ),
        ],
        "Memory, files and logs": [
            Chart(
                title="Memory",
                meaning="Resident memory, beside the limit of the container or machine.",
                unit="bytes",
                queries=[
                    Query(total("process_resident_memory_bytes", "instance"), "{{instance}}"),
                    Query(total("tokengrpc_memory_limit_bytes", "instance"), "{{instance}} limit"),
                ],
            ),
            Chart(
                title="Events kept for readers",
                meaning="Beside the limit, limits.total_log_bytes, above which the oldest are dropped.",
                unit="bytes",
                queries=[
                    Query(total("tokengrpc_log_bytes", "instance"), "{{instance}}"),
                    Query(total("tokengrpc_max_log_bytes", "instance"), "{{instance}} limit"),
                ],
            ),
            Chart(
                title="Open files",
                meaning="Beside the limit, ulimit -n.",
                unit="none",
                queries=[
                    Query(total("process_open_fds", "instance"), "{{instance}}"),
                    Query(total("process_max_fds", "instance"), "{{instance}} limit"),
                ],
            ),
            Chart(
                title="Log lines dropped",
                meaning="Because stderr did not take them.",
                unit="none",
                queries=[Query(rate("tokengrpc_log_lines_dropped_total", "instance"))],
            ),
            Chart(
                title="Time since the start",
                meaning="A drop is a restart.",
                unit="s",
                queries=[
                    Query(f"time() - {total('process_start_time_seconds', 'instance')}", "{{instance}}")
                ],
            ),
        ],
    },
)
