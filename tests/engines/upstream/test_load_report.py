"""The load that servers report: read leniently, and used for balancing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.harness import collect
from tests.support.script_steps import Status
from tests.support.several_engines import ANSWER, two_engines
from tokengrpc.core.pooled_engine import PooledEngine
from tokengrpc.core.ports.engine import ReportedLoad
from tokengrpc.engines.upstream.load_report import read_load

HEADER = "endpoint-load-metrics"

READ = {
    "TEXT named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=2.0": 2.0,
    "text named_metrics.num_requests_waiting=3": 3.0,
    "named_metrics.num_requests_waiting=3": 3.0,
    "TEXT cpu_utilization=0.3,num_requests_waiting=4": 4.0,
    'JSON {"named_metrics": {"kv_cache_usage_perc": 0.4, "num_requests_waiting": 2.0}}': 2.0,
    'JSON "named_metrics": {"num_requests_waiting": 2}': 2.0,
    "TEXT named_metrics.num_requests_waiting=1e99": 1e6,
}
NOT_READ = [
    "",
    "TEXT",
    "TEXT named_metrics.kv_cache_usage_perc=0.4",
    "TEXT named_metrics.num_requests_waiting",
    "TEXT named_metrics.num_requests_waiting=many",
    "TEXT named_metrics.num_requests_waiting=-1",
    "TEXT named_metrics.num_requests_waiting=nan",
    "TEXT named_metrics.num_requests_waiting=inf",
    "JSON",
    "JSON {",
    "JSON []",
    'JSON {"named_metrics": []}',
    'JSON {"named_metrics": {"num_requests_waiting": true}}',
    'JSON {"named_metrics": {"num_requests_waiting": [1]}}',
    "BIN AAAA",
    "TEXT named_metrics.num_requests_waiting=2, x=" + "x" * 10_000,
]


@pytest.mark.parametrize("value", READ)
def test_reports_that_are_read(value: str):
    """In both forms of vLLM and Triton, with small deviations. A count has a bound."""
    assert read_load({HEADER: value}) == ReportedLoad(waiting=READ[value])


@pytest.mark.parametrize("value", NOT_READ)
def test_reports_that_say_nothing(value: str):
    """They are ignored: a header is no reason for a failure."""
    assert read_load({HEADER: value}) is None
    assert read_load({}) is None


@given(st.text())
def test_no_report_is_an_error(text: str):
    """Whatever the server sends."""
    for form in ("", "TEXT ", "JSON ", "JSON {"):
        read_load({HEADER: form + text})


class Reporting:
    """An engine whose report the test sets."""

    name = "e"
    healthy = None
    reported_load: ReportedLoad | None = None


def test_a_report_counts_for_a_while():
    """Until it is 10 s old. A new one counts again, and the weight divides it."""
    engine = Reporting()
    pooled = PooledEngine(engine, weight=2.0)
    assert pooled.outstanding(100.0) == 0
    engine.reported_load = ReportedLoad(waiting=4.0)
    assert pooled.outstanding(101.0) == 4 * 256 / 2
    assert pooled.outstanding(110.9) == 4 * 256 / 2
    assert pooled.outstanding(111.1) == 0
    engine.reported_load = ReportedLoad(waiting=4.0)
    assert pooled.outstanding(112.0) == 4 * 256 / 2


@pytest.mark.parametrize("dialect", ["vllm", "generic"])
async def test_requests_go_where_fewer_wait(dialect: str):
    """Of two engines, the one that reports waiting requests gets none while the other has less to do."""
    answer = b"".join(
        b"data: %b\n\n" % part
        for part in (
            b'{"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}',
            b"[DONE]",
        )
    )
    headers = {HEADER: "TEXT named_metrics.num_requests_waiting=50.0", "Content-Type": "text/event-stream"}
    of_both = {"priority": 0, "dialect": dialect}
    async with two_engines(of_a=of_both, of_b=of_both) as two:
        two.a.script(Status(200, answer.decode(), headers))
        two.b.script(*ANSWER)
        outcomes = [await collect(two.server.stream()) for _ in range(6)]
        assert {outcome.code.name for outcome in outcomes} == {"OK"}
        assert len(two.a.calls) == 1
        asked = [call.headers.get("endpoint-load-metrics-format") for call in two.b.calls]
        assert asked == (["TEXT"] * 5 if dialect == "vllm" else [None] * 5)
