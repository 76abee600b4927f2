"""Engines: what each of them does, how it fails, and who takes over."""

from __future__ import annotations

from tools.dashboards.page import Page
from tools.dashboards.panels import Chart, Query, States
from tools.dashboards.queries import highest, lowest, quantile, rate, total

GAP = "tokengrpc_inter_token_latency_seconds"
ENGINE = ("model", "engine")
LEGEND = "{{model}} {{engine}}"
ATTEMPTS = "tokengrpc_engine_attempts_total"

PAGE = Page(
    uid="tokengrpc-engines",
    title="tokengrpc / engines",
    meaning="The engines of tokengrpc: their rates, failures, circuit breakers, failovers and cancels.",
    rows={
        "Work": [
            Chart(
                title="Output tokens",
                meaning="By engine.",
                unit="none",
                queries=[Query(rate("tokengrpc_generation_tokens_total", *ENGINE), LEGEND)],
                stacked=True,
            ),
            Chart(
                title="Running calls",
                meaning="Calls of engines that run now.",
                unit="none",
                queries=[Query(total("tokengrpc_num_requests_running", *ENGINE), LEGEND)],
                stacked=True,
            ),
            Chart(
                title="Generations that wait for a slot",
                meaning="All engines of the model have max_connections generations.",
                unit="none",
                queries=[Query(total("tokengrpc_num_requests_waiting", "model"))],
            ),
            Chart(
                title="Gaps between tokens, p50",
                meaning="From one batch of output to the next, by engine.",
                unit="s",
                queries=[Query(quantile(0.5, GAP, *ENGINE), LEGEND)],
            ),
            Chart(
                title="Gaps between tokens, p99",
                meaning="From one batch of output to the next, by engine.",
                unit="s",
                queries=[Query(quantile(0.99, GAP, *ENGINE), LEGEND)],
            ),
            Chart(
                title="Batches of output",
                meaning="Reads from engines that brought output, however many tokens each had.",
                unit="none",
                queries=[Query(rate(f"{GAP}_count", *ENGINE), LEGEND)],
            ),
        ],
        "Failures": [
            Chart(
                title="Attempts by outcome",
                meaning="Calls of engines, by what they say of the engine: neutral ones say nothing.",
                unit="reqps",
                queries=[Query(rate(ATTEMPTS, "outcome"))],
                stacked=True,
            ),
            Chart(
                title="Failed attempts",
                meaning="Share of the calls of each engine that failed.",
                unit="percentunit",
                queries=[
                    Query(f"{rate(ATTEMPTS, *ENGINE, outcome='failure')} / {rate(ATTEMPTS, *ENGINE)}", LEGEND)
                ],
            ),
            Chart(
                title="Errors by reason",
                meaning="Calls of engines that failed.",
                unit="reqps",
                queries=[
                    Query(rate("tokengrpc_engine_errors_total", "engine", "reason"), "{{engine}} {{reason}}")
                ],
            ),
            States(
                title="Circuit breakers",
                meaning="Open: at least one server does not send requests to the engine.",
                query=Query(
                    lowest("tokengrpc_breaker_state", *ENGINE, state="closed"),
                    LEGEND,
                ),
                names=("open", "closed"),
            ),
            Chart(
                title="Changes of circuit breakers",
                meaning="That opened or closed.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_breaker_changes_total", "engine", "to"), "{{engine}} {{to}}")],
            ),
            States(
                title="Models",
                meaning="Not ready: at least one server has no healthy engine of the model.",
                query=Query(lowest("tokengrpc_model_ready", "model"), "{{model}}"),
                names=("not ready", "ready"),
            ),
        ],
        "Recovery, silence and cancels": [
            Chart(
                title="Silence",
                meaning="For how long each engine has sent no output although it is being called.",
                unit="s",
                queries=[Query(highest("tokengrpc_engine_silent_seconds", *ENGINE), LEGEND)],
            ),
            Chart(
                title="Retries",
                meaning="Further calls of an engine for the same generation.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_retries_total", *ENGINE), LEGEND)],
            ),
            Chart(
                title="Failovers",
                meaning="Calls of an engine after another one had failed.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_failovers_total", *ENGINE), LEGEND)],
            ),
            Chart(
                title="Switches",
                meaning="Outputs that another engine continued.",
                unit="reqps",
                queries=[
                    Query(
                        rate("tokengrpc_switches_total", "from_engine", "to_engine", "method"),
                        "{{from_engine}} to {{to_engine}}, {{method}}",
                    )
                ],
            ),
            Chart(
                title="Cancelled calls",
                meaning="Ended by the server: a caller cancelled or left, or the time was over.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_engine_cancels_total", *ENGINE), LEGEND)],
            ),
            Chart(
                title="From a cancel to the engine",
                meaning="From a caller's cancel or leaving until the call of the engine has been ended.",
                unit="s",
                queries=[
                    Query(quantile(q, "tokengrpc_cancel_to_engine_seconds"), f"p{q * 100:g}")
                    for q in (0.5, 0.99)
                ],
            ),
        ],
    },
)
