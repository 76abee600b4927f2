"""A real Prometheus scrapes a real server: it takes every metric, and has the values that were counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.commands import serving, until
from tests.support.ports import reserved_port
from tests.support.prometheus import scraping
from tokengrpc.telemetry import metric_table

if TYPE_CHECKING:
    from pathlib import Path

STREAMS = 3


def test_prometheus_takes_every_metric_of_a_server(tmp_path: Path) -> None:
    """Names, types and meanings as in the table; and the number of streams that were read."""
    admin = reserved_port()
    with serving("--admin-listen", f"127.0.0.1:{admin}") as server:
        for _ in range(STREAMS):
            assert server("stream", "hello", "--max-tokens", "3").returncode == 0
        with scraping(tmp_path, admin) as prometheus:

            def counted() -> bool:
                found = prometheus.query("sum(tokengrpc_request_success_total)")
                return bool(found and float(found[0]["value"][1]) == STREAMS)

            until(counted, "Prometheus has the streams")
            shown = prometheus.get("metadata")
    # Prometheus asks for OpenMetrics, where the names of counters have no `_total`, but their series have.
    metrics = (*metric_table.COUNTED, *metric_table.READ)
    table = {m.name.removesuffix("_total"): (m.kind, m.meaning) for m in metrics}
    own = {name: rows for name, rows in shown.items() if name.startswith(("tokengrpc_", "grpc_"))}
    assert {name: (rows[0]["type"], rows[0]["help"]) for name, rows in own.items()} == table
