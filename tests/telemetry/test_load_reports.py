"""Load reports: what callers did, as the report and its service have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from xds_orca.orca_pb2 import OrcaLoadReport, OrcaLoadReportRequest

from tests.support.harness import Served, collect, serving, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text
from tokengrpc.config import TenantSettings
from tokengrpc.core.admission import Admission
from tokengrpc.core.capacity import Measurement
from tokengrpc.core.clock import SystemClock
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.observer import CallEnded, GenerationAdmitted, TokensRelayed
from tokengrpc.core.tenant import Tenant
from tokengrpc.errors import Reason
from tokengrpc.generations.buffer import EventBuffers
from tokengrpc.generations.loop_probe import LoopProbe
from tokengrpc.generations.status import ServerStatus
from tokengrpc.rpc import load_reporting
from tokengrpc.rpc.load_reporting import DEFAULT_INTERVAL, MAX_INTERVAL, MIN_INTERVAL, interval
from tokengrpc.telemetry.load_reports import LoadReports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
SECOND = Measurement(elapsed=1.0, lag=0.0, cpu=0.0, waited=0.0)


def load_reports(admission: Admission) -> LoadReports:
    status = ServerStatus(
        LoopProbe(lambda measurement: None),
        admission,
        EventBuffers(buffer_bytes=1, total_bytes=1),
        SystemClock(),
    )
    return LoadReports(admission, status)


def ended(reason: str) -> CallEnded:
    return CallEnded(
        method="StreamTokens", tenant="t", code="UNKNOWN", reason=reason, seconds=1.0, sent_bytes=0
    )


def test_requests_and_errors_are_those_of_the_server():
    """A refused call is a request as well. Mistakes of callers, and calls that they leave, are no errors."""
    reports = load_reports(Admission(10))
    for _ in range(3):
        reports.on_event(GenerationAdmitted(key=GenerationKey("t", "g"), model="m"))
    for reason in ("", Reason.INVALID_REQUEST, Reason.QUOTA_EXCEEDED, Reason.CANCELLED):
        reports.on_event(ended(reason))
    reports.on_event(ended(Reason.ENGINE_LOST))
    reports.on_event(ended(Reason.OVERLOADED))
    reports.on_event(TokensRelayed(tenant="t", model="m", engine="e", count=70))
    reports.measured(SECOND)
    report = reports.report()
    assert report.requests == pytest.approx(4)
    assert report.errors == pytest.approx(2)
    assert report.named["tokens_per_second"] == pytest.approx(70)


def test_utilization_is_the_fraction_of_what_fits():
    """Two of eight generations."""
    admission = Admission(8)
    reports = load_reports(admission)
    for _ in range(2):
        admission.admit(Tenant(name="t"), queued=True)
    reports.measured(SECOND)
    assert reports.report().application_utilization == pytest.approx(0.25)


def test_a_report_is_made_once_per_measurement():
    """Calls that end between two measurements send the same one."""
    reports = load_reports(Admission(8))
    first = reports.report()
    assert reports.report() is first
    reports.measured(SECOND)
    assert reports.report() is not first


@pytest.mark.parametrize(
    ("asked", "clients", "seconds"),
    [
        (0.0, 1, DEFAULT_INTERVAL),
        (-1.0, 1, MIN_INTERVAL),
        (1e-9, 1, MIN_INTERVAL),
        (2.5, 1, 2.5),
        (3e11, 1, MAX_INTERVAL),
        (1.0, 1_000, 5.0),
    ],
)
def test_clients_choose_the_interval_within_bounds(asked, clients, seconds):
    """With many clients it is longer, so that all together get a bounded number of reports."""
    request = OrcaLoadReportRequest()
    request.report_interval.seconds = int(asked)
    request.report_interval.nanos = round((asked - int(asked)) * 1e9)
    assert interval(request, clients) == seconds


def reports_of(server: Served, request: bytes = b"\x0a\x02\x08\x01") -> Any:
    """Calls the service; the request asks for a report a second."""
    call = server.channel.unary_stream(METHOD, response_deserializer=OrcaLoadReport.FromString)
    return call(request)


async def first(call: Any, accepted: Callable[[OrcaLoadReport], bool]) -> OrcaLoadReport:
    """Reads reports until one is accepted."""
    async for report in call:
        if accepted(report):
            return report
    raise AssertionError("the reports ended")


async def test_slots_of_engines_count(tmp_path: Path):
    """Three calls for two slots are more than fits. Nobody needs a key for the reports."""
    key = tmp_path / "key"
    key.write_text("secret")
    tenants = (TenantSettings(name="team", key_file=str(key)),)
    metadata = (("authorization", "Bearer secret"),)
    async with ScriptedEngine() as engine:
        model = upstream(engine.base_url, name="m", max_connections=2)
        async with serving(model, load_reports=True, tenants=tenants) as server:
            pauses = [Pause(), Pause(), Pause()]
            for pause in pauses:
                engine.script(Text("a"), pause, Finish(), Done())
            streams = [server.stream(f"g{number}", metadata=metadata) for number in range(3)]
            reports = reports_of(server)
            report = await first(reports, lambda report: report.application_utilization > 1)
            assert report.named_metrics == {
                "num_requests_running": 2,
                "num_requests_waiting": 1,
                "tokens_per_second": report.named_metrics["tokens_per_second"],
            }
            assert report.rps_fractional > 0
            assert report.eps == 0
            for pause in pauses:
                pause.release()
            assert [(await collect(stream)).code.name for stream in streams] == ["OK"] * 3
            await first(reports, lambda report: not report.named_metrics["num_requests_running"])
            reports.cancel()


@pytest.mark.parametrize(
    ("enabled", "request_bytes", "code"),
    [
        (False, b"", grpc.StatusCode.UNIMPLEMENTED),
        (True, b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_calls_that_get_no_report(enabled, request_bytes, code):
    """The service is off by default, and takes only its own requests."""
    async with serving(**({"load_reports": True} if enabled else {})) as server:
        outcome = await collect(reports_of(server, request_bytes))
    assert (outcome.code, outcome.messages) == (code, [])


async def test_further_clients_are_refused(monkeypatch: pytest.MonkeyPatch):
    """Before their request is read, and until another one has left."""
    monkeypatch.setattr(load_reporting, "MAX_CLIENTS", 2)
    async with serving(load_reports=True) as server:
        calls = [reports_of(server) for _ in range(2)]
        for call in calls:
            await first(call, lambda _: True)
        silent = server.channel.stream_stream(METHOD)()
        assert await silent.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        calls[0].cancel()
        outcome = await collect(reports_of(server, b"\xff"))
        while outcome.code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # the server has not noticed yet
            outcome = await collect(reports_of(server, b"\xff"))
        assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
        calls[1].cancel()
