"""The UsageService on real servers with every kind of ledger: pages, tenants, filters, bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import usage_service_pb2 as pb
from tokenstreaming.v1.usage_service_pb2_grpc import UsageServiceStub

from tests.support.harness import Outcome, failing
from tests.support.records import finished_record, usage_record
from tokengrpc.core.attempts import Attempt
from tokengrpc.core.model import FinishReason, Usage, UsageReport, UsageSource
from tokengrpc.core.tenant import Priority

if TYPE_CHECKING:
    import pytest

    from tests.support.usage_service import Service

SECOND = 10**9


def at(*date: int) -> int:
    return round(datetime(*date, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[arg-type]


async def fill(service: Service, count: int) -> None:
    for n in range(count):
        record = finished_record(
            f"r{n:02}", tenant="ab"[n % 2], generation_id=f"g{n}", create_time_ns=SECOND * (1 + n // 3)
        )
        await service.served.ledger.finish(record)


def violation(outcome: Outcome) -> str:
    """Returns the field of the only violation of a request that must be wrong."""
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    (one,) = outcome.detail(error_details_pb2.BadRequest).field_violations
    return one.field


async def test_pages_are_stable_while_records_arrive(service: Service) -> None:
    """Each record is on one page, newest first, although new ones are written between the pages."""
    await fill(service, 20)
    found, page = [], await service.records(page_size=3)
    while True:
        found += [record.record_id for record in page.usage_records]
        if not page.next_page_token:
            break
        late = finished_record(f"late{len(found)}", tenant="a", create_time_ns=99 * SECOND)
        await service.served.ledger.finish(late)
        page = await service.records(page_size=3, page_token=page.next_page_token)
    assert found == [f"r{n:02}" for n in reversed(range(20))]


async def test_a_page_token_belongs_to_its_filter(service: Service) -> None:
    """Another filter, another tenant's default filter, and what was never a token are INVALID_ARGUMENT."""
    await fill(service, 6)
    token = (await service.records(page_size=2, filter=pb.UsageFilter(tenant="a"))).next_page_token
    far = token[:10] + "A" * 40
    for wrong in (
        failing(service.records(page_token=token)),
        failing(service.records(page_token=token, filter=pb.UsageFilter(tenant="a", model="m"))),
        failing(service.records("b", page_token=token)),
        failing(service.records(page_token="🦜")),
        failing(service.records(page_token="A" * 2000)),
        failing(service.records(page_token=far, filter=pb.UsageFilter(tenant="a"))),
    ):
        assert violation(await wrong) == "page_token"
    # The tenant itself has the same filter as the admin who asked for it.
    assert await service.records("a", page_token=token)


async def test_tenants_read_their_own_usage(service: Service) -> None:
    """Without an admin, a tenant's name may be left out or its own; with one, it may be any or none."""
    await fill(service, 6)
    own = ["r04", "r02", "r00"]
    assert await service.all_ids("a") == own
    assert await service.all_ids("a", filter=pb.UsageFilter(tenant="a"), page_size=1) == own
    assert await service.all_ids(filter=pb.UsageFilter(tenant="a")) == own
    assert len(await service.all_ids()) == 6
    by_tenant = [pb.USAGE_DIMENSION_TENANT]
    assert [(s.tenant, s.generation_count) for s in await service.sums("b", group_by=by_tenant)] == [("b", 3)]
    assert [s.tenant for s in await service.sums(group_by=by_tenant)] == ["a", "b"]
    entries = (await service.entries("b")).usage_entries
    assert [(e.sequence, e.usage_record.tenant) for e in entries] == [(2, "b"), (4, "b"), (6, "b")]
    for refused in (
        failing(service.records("a", filter=pb.UsageFilter(tenant="b"))),
        failing(service.sums("a", filter=pb.UsageFilter(tenant="b"))),
        failing(service.entries("a", tenant="b")),
    ):
        outcome = await refused
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ADMIN_REQUIRED")
    outcome = await failing(
        UsageServiceStub(service.served.channel).ListUsageRecords(pb.ListUsageRecordsRequest())
    )
    assert outcome.code is grpc.StatusCode.UNAUTHENTICATED


async def test_wrong_requests_name_their_field(service: Service) -> None:
    """Whatever a caller sends, it is INVALID_ARGUMENT and never a failure of the store."""
    filters = (
        ("filter.labels", {"labels": {str(n): "" for n in range(17)}}),
        ("filter.labels", {"labels": {"k": "v" * 2000}}),
        ("filter.model", {"model": "a\0b"}),
        ("filter.generation_id", {"generation_id": "g" * 2000}),
    )
    for field, given in filters:
        assert violation(await failing(service.records(filter=pb.UsageFilter(**given)))) == field
    assert violation(await failing(service.records(page_size=-1))) == "page_size"
    assert violation(await failing(service.entries(after_sequence=-2))) == "after_sequence"
    time, label = pb.USAGE_DIMENSION_TIME, pb.USAGE_DIMENSION_LABEL
    for field, given in (
        ("group_by", {"group_by": [77]}),
        ("label_key", {"group_by": [label]}),
        ("label_key", {"label_key": "k"}),
        ("label_key", {"group_by": [label], "label_key": "k\0"}),
        ("bucket_duration", {"group_by": [time]}),
        ("bucket_duration", {"group_by": [time], "bucket_duration": Duration(seconds=59)}),
        ("bucket_duration", {"bucket_unit": pb.USAGE_TIME_UNIT_DAY}),
        ("bucket_unit", {"group_by": [time], "bucket_unit": 9, "bucket_duration": Duration(seconds=60)}),
        ("time_zone", {"group_by": [time], "bucket_unit": 2, "time_zone": "Europe/Atlantis"}),
        ("time_zone", {"group_by": [time], "bucket_unit": 2, "time_zone": "../../etc/passwd"}),
        ("time_zone", {"group_by": [time], "bucket_unit": 2, "time_zone": f"{'A/' * 2000}A"}),
        ("time_zone", {"time_zone": "UTC"}),
    ):
        assert violation(await failing(service.sums(**given))) == field


async def test_times_that_no_database_can_compare(service: Service) -> None:
    """Those before 1677 and after 2262 restrict nothing, or everything."""
    await fill(service, 2)
    always = {
        "start_time": Timestamp(seconds=-62_135_596_800),
        "end_time": Timestamp(seconds=253_402_300_799),
    }
    assert len(await service.all_ids(filter=pb.UsageFilter(**always))) == 2
    assert await service.all_ids(filter=pb.UsageFilter(start_time=always["end_time"])) == []


async def test_days_and_hours_of_a_zone(service: Service) -> None:
    """The day on which clocks are put back has 25 hours, and hours that are far apart are few groups."""
    times = [at(2026, 10, 24, 22, 0), at(2026, 10, 25, 22, 59), at(2026, 10, 25, 23, 0), at(1990, 1, 1)]
    for n, time in enumerate(times):
        await service.served.ledger.finish(finished_record(f"r{n}", create_time_ns=time))
    asked = {"group_by": [pb.USAGE_DIMENSION_TIME], "time_zone": "Europe/Berlin"}
    days = await service.sums(bucket_unit=pb.USAGE_TIME_UNIT_DAY, **asked)
    assert [(s.bucket_start_time.ToJsonString(), s.generation_count) for s in days] == [
        ("1989-12-31T23:00:00Z", 1),
        ("2026-10-24T22:00:00Z", 2),
        ("2026-10-25T23:00:00Z", 1),
    ]
    hours = await service.sums(bucket_unit=pb.USAGE_TIME_UNIT_HOUR, **asked)
    assert [s.bucket_start_time.ToJsonString() for s in hours] == [
        "1990-01-01T00:00:00Z",
        "2026-10-24T22:00:00Z",
        "2026-10-25T22:00:00Z",
        "2026-10-25T23:00:00Z",
    ]


async def test_a_bounded_number_of_groups(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are INVALID_ARGUMENT, and none is cut off silently."""
    monkeypatch.setattr("tokengrpc.rpc.usage_servicer.MAX_GROUPS", 3)
    await fill(service, 12)
    asked = {"group_by": [pb.USAGE_DIMENSION_TIME], "bucket_duration": Duration(seconds=60)}
    assert len(await service.sums(**asked)) == 1
    for n in range(3):
        await service.served.ledger.finish(finished_record(f"far{n}", create_time_ns=SECOND * 1000 * (n + 1)))
    assert violation(await failing(service.sums(**asked))) == "group_by"


async def test_what_a_record_tells(service: Service) -> None:
    """Every field, also of a record that runs, and of one with usage that came late."""
    await service.served.ledger.begin(usage_record("open", tenant="a", generation_id="running"))
    record = finished_record(
        "closed",
        tenant="a",
        generation_id="ended",
        usage=Usage(3, 5, 1, 2, 4, 6, source=UsageSource.COUNTED),
        create_time_ns=2 * SECOND,
        first_token_time_ns=3 * SECOND,
        end_time_ns=4 * SECOND,
        finish_reason=FinishReason.ERROR,
        error_reason="ENGINE_LOST",
        attempts=(Attempt(engine="e", began=2 * SECOND, server="here"),),
        server="here",
        session_id="s",
        priority=Priority.INTERACTIVE,
        event_bytes=100,
        delivered_sequence=7,
    )
    await service.served.ledger.finish(record)
    await service.served.ledger.settle("closed", UsageReport(output=9))
    closed, running = (await service.records("a")).usage_records
    assert running.state == pb.USAGE_RECORD_STATE_OPEN
    assert not running.HasField("end_time")
    assert closed.usage.overhead_token_count == 6
    assert closed.settled_usage.output_token_count == 9
    assert closed.labels == {"team": "search"}
    assert [attempt.engine for attempt in closed.attempts] == ["e"]
    assert closed.first_token_time.seconds == 3
    told = (closed.server, closed.session_id, closed.event_byte_count, closed.last_delivered_sequence)
    assert told == ("here", "s", 100, 7)
    assert (closed.priority, running.priority) == (input_pb2.PRIORITY_INTERACTIVE, input_pb2.PRIORITY_BATCH)
    kinds = [entry.kind for entry in (await service.entries("a")).usage_entries]
    assert kinds == [pb.USAGE_ENTRY_KIND_BEGIN, pb.USAGE_ENTRY_KIND_FINISH, pb.USAGE_ENTRY_KIND_SETTLE]
    last = await service.entries("a", after_sequence=3)
    assert (len(last.usage_entries), last.last_sequence) == (0, 3)
    newest = await service.entries("a", after_sequence=-1)
    assert (len(newest.usage_entries), newest.last_sequence) == (0, 3)
