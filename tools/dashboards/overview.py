"""The overview: what callers get, whether they get it, and what of it is billed."""

from __future__ import annotations

from tools.dashboards.page import Page
from tools.dashboards.panels import Chart, Number, Query
from tools.dashboards.queries import Not, quantile, rate, select, total

FIRST = "tokengrpc_time_to_first_token_seconds"
GAP = "tokengrpc_inter_token_latency_seconds"
SUCCEEDED = f"({rate('tokengrpc_request_success_total')} or vector(0))"
ENDED = f"({SUCCEEDED} + ({rate('tokengrpc_request_failure_total')} or vector(0)))"
FAILED = f"({rate('tokengrpc_request_failure_total', reason=Not('CANCELLED'))} or vector(0))"


PAGE = Page(
    uid="tokengrpc-overview",
    title="tokengrpc / overview",
    meaning="What callers get from tokengrpc: traffic, tokens, latency, errors, engines, usage.",
    rows={
        "Now": [
            Number(
                title="Servers",
                meaning="Servers that Prometheus reaches.",
                unit="none",
                query=f"count({select('tokengrpc_build_info')})",
            ),
            Number(
                title="Running generations",
                meaning="All of these servers.",
                unit="none",
                query=total("tokengrpc_generations"),
            ),
            Number(
                title="Output tokens a second",
                meaning="Relayed from engines.",
                unit="none",
                query=rate("tokengrpc_generation_tokens_total"),
            ),
            Number(
                title="Failed generations",
                meaning="Share of the ended generations, without those that a caller cancelled.",
                unit="percentunit",
                query=f"{FAILED} / {ENDED}",
                yellow=0.005,
                red=0.05,
            ),
            Number(
                title="First token, p99",
                meaning="From admission to the first output.",
                unit="s",
                query=quantile(0.99, FIRST),
                yellow=5,
                red=10,
            ),
            Number(
                title="Models without an engine",
                meaning="Models of which no engine of a server is healthy, over all servers.",
                unit="none",
                query=f"count({select('tokengrpc_model_ready')} == 0) or vector(0)",
                red=1,
            ),
        ],
        "Traffic": [
            Chart(
                title="Generations admitted",
                meaning="By model. Rejected calls are not among them: see the errors of calls.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_request_admitted_total", "model"))],
            ),
            Chart(
                title="Streams opened",
                meaning="By what the call did: start a generation, attach to one, or resume a stream.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_streams_total", "opening"))],
            ),
            Chart(
                title="Open streams",
                meaning="Readers of generations, by model.",
                unit="none",
                queries=[Query(total("tokengrpc_readers", "model"))],
            ),
            Chart(
                title="Calls",
                meaning="Calls that arrived, by method.",
                unit="reqps",
                queries=[Query(rate("grpc_server_call_started_total", "grpc_method"))],
            ),
            Chart(
                title="Calls by status",
                meaning="Calls that ended, by their gRPC status.",
                unit="reqps",
                queries=[Query(rate("grpc_server_call_duration_seconds_count", "grpc_status"))],
            ),
            Chart(
                title="Bytes sent and received",
                meaning="Bytes of messages, counted when their call ends.",
                unit="Bps",
                queries=[
                    Query(rate(f"grpc_server_call_{way}_total_compressed_message_size_bytes_sum"), legend)
                    for way, legend in (("sent", "sent"), ("rcvd", "received"))
                ],
            ),
        ],
        "Tokens and usage": [
            Chart(
                title="Output tokens",
                meaning="Relayed from engines, by model.",
                unit="none",
                queries=[Query(rate("tokengrpc_generation_tokens_total", "model"))],
                stacked=True,
            ),
            Chart(
                title="Output tokens by tenant",
                meaning="Relayed from engines, by tenant.",
                unit="none",
                queries=[Query(rate("tokengrpc_generation_tokens_total", "tenant"))],
                stacked=True,
            ),
            Chart(
                title="Input tokens",
                meaning="Of generations that have ended, by model.",
                unit="none",
                queries=[Query(rate("tokengrpc_prompt_tokens_total", "model"))],
                stacked=True,
            ),
            Chart(
                title="Billed usage by source",
                meaning="Who counted: the engine, or this server, exactly or by an estimate.",
                unit="none",
                queries=[Query(rate("tokengrpc_usage_tokens_total", "source"))],
                stacked=True,
            ),
            Chart(
                title="Billed usage by kind",
                meaning="Overhead is what the continuation on another engine costs.",
                unit="none",
                queries=[Query(rate("tokengrpc_usage_tokens_total", "kind"))],
            ),
            Chart(
                title="Billed usage by tenant",
                meaning="Tokens of all kinds.",
                unit="none",
                queries=[Query(rate("tokengrpc_usage_tokens_total", "tenant"))],
                stacked=True,
            ),
        ],
        "Latency": [
            Chart(
                title="Time to first token",
                meaning="From admission to the first output.",
                unit="s",
                queries=[Query(quantile(q, FIRST), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)],
            ),
            Chart(
                title="Time to first token, p99 by model",
                meaning="From admission to the first output.",
                unit="s",
                queries=[Query(quantile(0.99, FIRST, "model"))],
            ),
            Chart(
                title="Gaps between tokens",
                meaning="From one batch of output of an engine to the next.",
                unit="s",
                queries=[Query(quantile(q, GAP), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)],
            ),
            Chart(
                title="Wait for an engine, p99",
                meaning="From admission until an engine accepted the request, by model.",
                unit="s",
                queries=[Query(quantile(0.99, "tokengrpc_request_queue_time_seconds", "model"))],
            ),
            Chart(
                title="Whole generations",
                meaning="From admission to the end.",
                unit="s",
                queries=[
                    Query(quantile(q, "tokengrpc_e2e_request_latency_seconds"), f"p{q * 100:g}")
                    for q in (0.5, 0.99)
                ],
            ),
            Chart(
                title="Calls, p99",
                meaning="Whole calls by method; a stream's call lasts as long as the stream.",
                unit="s",
                queries=[Query(quantile(0.99, "grpc_server_call_duration_seconds", "grpc_method"))],
            ),
        ],
        "Ends and errors": [
            Chart(
                title="Failed generations",
                meaning="By the reason of the error. CANCELLED: a caller ended it.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_request_failure_total", "reason"))],
                stacked=True,
            ),
            Chart(
                title="Errors of calls",
                meaning="Calls that the server ended with an error, rejected ones included, by reason.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_call_errors_total", "reason"))],
                stacked=True,
            ),
            Chart(
                title="Finish reasons",
                meaning="Generations that ended without an error.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_request_success_total", "finished_reason"))],
                stacked=True,
            ),
            Chart(
                title="Streams that failed alone",
                meaning="Their generation went on: the reader was too slow, for example.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_stream_failures_total", "reason"))],
                stacked=True,
            ),
            Chart(
                title="Checksum failures",
                meaning="Calls whose reader had other output than the server. There should be none.",
                unit="reqps",
                queries=[Query(rate("tokengrpc_checksum_failures_total", "instance"))],
            ),
            Chart(
                title="Healthy engines",
                meaning="Closed circuit breakers, by model and engine: how many servers use the engine.",
                unit="none",
                queries=[Query(total("tokengrpc_breaker_state", "model", "engine", state="closed"))],
            ),
        ],
    },
)
