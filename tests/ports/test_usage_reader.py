"""The contract of every ledger that can be read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from tests.support.records import finished_record, usage_record
from tokengrpc.core.model import Cost, Usage, UsageReport, UsageSource
from tokengrpc.core.ports.usage_reader import (
    Buckets,
    EntryKind,
    Grouping,
    PageStart,
    RecordQuery,
    TimeUnit,
    UsageSum,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.ledgers import ReadableLedger

ODD_KEYS = ('quo"te', "dot.ted", "it's", "$", "nul\0", "é🦜")


def at(*date: int, zone: str = "UTC") -> int:
    """Returns the nanoseconds of a local date and time."""
    return round(datetime(*date, tzinfo=ZoneInfo(zone)).timestamp()) * 10**9  # type: ignore[arg-type]


async def ids(ledger: ReadableLedger, **query) -> list[str]:
    return [record.record_id for record in await ledger.list_records(RecordQuery(**query), None, 100)]


async def fill(ledger: ReadableLedger, count: int) -> None:
    """Stores records of two tenants, models and labels by turns, whose times collide in threes."""
    for n in range(count):
        await ledger.finish(
            finished_record(
                f"r{n:03}",
                generation_id=f"g{n // 2}",
                tenant=f"t{n % 2}",
                model=f"m{n % 3}",
                labels={"team": f"x{n % 2}", "odd": str(n)},
                create_time_ns=1000 + n // 3,
                usage=Usage(10, n, source=UsageSource.ENGINE if n % 2 else UsageSource.ESTIMATED),
            )
        )


async def test_pages_have_each_record_once_while_new_ones_arrive(ledger: ReadableLedger) -> None:
    """Newest first, also where times are equal. A record that arrives meanwhile shifts no page."""
    await fill(ledger, 20)
    listed: list[str] = []
    after: PageStart | None = None
    while page := await ledger.list_records(RecordQuery(), after, 3):
        listed += [record.record_id for record in page]
        after = PageStart(page[-1].create_time_ns, page[-1].record_id)
        await ledger.finish(finished_record(f"new{len(listed)}", create_time_ns=9999))
    assert listed == [f"r{n:03}" for n in reversed(range(20))]


async def test_every_filter(ledger: ReadableLedger) -> None:
    """Each restricts, and all together too. Times include the start and not the end."""
    await fill(ledger, 12)
    assert await ids(ledger, tenant="t1") == [f"r{n:03}" for n in (11, 9, 7, 5, 3, 1)]
    assert await ids(ledger, model="m2") == [f"r{n:03}" for n in (11, 8, 5, 2)]
    assert await ids(ledger, generation_id="g2") == ["r005", "r004"]
    assert await ids(ledger, labels={"team": "x0", "odd": "4"}) == ["r004"]
    assert await ids(ledger, labels={"missing": ""}) == []
    assert await ids(ledger, start_ns=1001, end_ns=1002) == ["r005", "r004", "r003"]
    everything = {"tenant": "t1", "model": "m2", "labels": {"team": "x1"}, "start_ns": 1000, "end_ns": 1003}
    assert await ids(ledger, **everything) == ["r005"]
    found = await ledger.find("t1", "g2")
    assert found is not None
    assert found.record_id == "r005"
    assert await ledger.find("t0", "unknown") is None


async def test_keys_of_labels_are_no_syntax(ledger: ReadableLedger) -> None:
    """Whatever characters a key has, it is found, and no other."""
    for n, key in enumerate(ODD_KEYS):
        await ledger.finish(finished_record(f"r{n}", labels={key: "v"}))
    for n, key in enumerate(ODD_KEYS):
        assert await ids(ledger, labels={key: "v"}) == [f"r{n}"]
        sums = await ledger.summarize(RecordQuery(), Grouping(label=key), 10)
        assert [(s.label_value, s.count) for s in sums] == [("", len(ODD_KEYS) - 1), ("v", 1)]
    (stored,) = await ledger.list_records(RecordQuery(labels={"nul\0": "v"}), None, 2)
    assert stored.labels == {"nul\0": "v"}


async def test_sums_by_every_dimension(ledger: ReadableLedger) -> None:
    """Groups are in order, the source is the weakest, and the sums of all groups are the whole."""
    await fill(ledger, 12)
    (whole,) = await ledger.summarize(RecordQuery(), Grouping(), 10)
    assert whole == UsageSum(count=12, lost=0, usage=Usage(120, 66, source=UsageSource.ESTIMATED))
    tenants = await ledger.summarize(RecordQuery(), Grouping(tenant=True), 10)
    assert [(s.tenant, s.usage.output, s.usage.source.name) for s in tenants] == [
        ("t0", 30, "ESTIMATED"),
        ("t1", 36, "ENGINE"),
    ]
    grouping = Grouping(tenant=True, model=True, label="team", buckets=Buckets(length_ns=2))
    sums = await ledger.summarize(RecordQuery(), grouping, 100)
    keys = [(s.tenant, s.model, s.label_value, s.bucket_ns) for s in sums]
    assert keys == sorted(set(keys))
    assert sum(s.usage.output for s in sums) == 66
    assert {s.bucket_ns for s in sums} == {1000, 1002}
    assert len(await ledger.summarize(RecordQuery(), grouping, 3)) == 3
    assert await ledger.summarize(RecordQuery(tenant="nobody"), grouping, 3) == []
    assert await ledger.summarize(RecordQuery(tenant="nobody"), Grouping(), 3) == []


@pytest.mark.parametrize(
    ("unit", "zone", "starts"),
    [
        # The clocks of Berlin are put back on 25 October 2026: that day has 25 hours.
        (TimeUnit.DAY, "Europe/Berlin", [(2026, 10, 24), (2026, 10, 25), (2026, 10, 26), (2026, 11, 1)]),
        (TimeUnit.MONTH, "Europe/Berlin", [(2026, 10, 1), (2026, 11, 1)]),
        (TimeUnit.MONTH, "America/New_York", [(2026, 10, 1)]),
        (TimeUnit.HOUR, "Asia/Kolkata", None),
    ],
)
async def test_calendar_units_in_a_zone(
    ledger: ReadableLedger, unit: TimeUnit, zone: str, starts: Sequence[tuple[int, ...]] | None
) -> None:
    """A record belongs to the local hour, day or month in which it began."""
    times = [
        at(2026, 10, 24, 21, 59),
        at(2026, 10, 24, 22, 0),
        at(2026, 10, 25, 22, 59),
        at(2026, 10, 25, 23, 0),
        at(2026, 11, 1, 0, 30),
    ]
    for n, time in enumerate(times):
        await ledger.finish(finished_record(f"r{n}", create_time_ns=time))
    buckets = Buckets(unit=unit, zone=ZoneInfo(zone))
    sums = await ledger.summarize(RecordQuery(), Grouping(buckets=buckets), 100)
    assert sum(s.count for s in sums) == len(times)
    found = [s.bucket_ns for s in sums]
    if starts is not None:
        assert found == [at(*start, zone=zone) for start in starts]
    else:  # India's hours begin at 30 minutes of UTC
        assert [datetime.fromtimestamp(ns // 10**9, UTC).minute for ns in found if ns is not None] == [30] * 3


async def test_entries_have_no_gap_and_tell_what_happened(ledger: ReadableLedger) -> None:
    """What was repeated, or came too late, has no entry."""
    await ledger.begin(usage_record())
    await ledger.begin(usage_record())
    await ledger.checkpoint({"r": Usage(input=3, output=1)})
    await ledger.finish(finished_record("other"))
    await ledger.finish(finished_record())
    await ledger.finish(finished_record())
    for _ in range(2):
        await ledger.settle("r", UsageReport(output=9))
    entries = await ledger.entries(0, 100)
    assert [(e.sequence, e.kind, e.record.record_id) for e in entries] == [
        (1, EntryKind.BEGIN, "r"),
        (2, EntryKind.FINISH, "other"),
        (3, EntryKind.FINISH, "r"),
        (4, EntryKind.SETTLE, "r"),
    ]
    assert entries[0].record == usage_record()
    assert entries[2].record == finished_record()
    assert entries[3].record == finished_record(settled_usage=UsageReport(output=9))
    assert [entry.sequence for entry in await ledger.entries(1, 2)] == [2, 3]
    assert await ledger.entries(4, 10) == []


async def test_the_newest_sequence(ledger: ReadableLedger) -> None:
    """Of all tenants, of one, and of one without any entry."""
    assert await ledger.newest_sequence() == 0
    await fill(ledger, 3)
    assert [await ledger.newest_sequence(name) for name in ("", "t0", "t1", "t2")] == [3, 3, 2, 0]


async def test_costs_are_summed_for_each_currency(ledger: ReadableLedger) -> None:
    """In the groups that the limit leaves. Records without a price are in none; mixed versions have none."""
    costs = [Cost(2, "USD", "v1"), Cost(3, "USD", "v2"), Cost(5, "EUR", "v1"), None]
    for n, cost in enumerate(costs * 2):
        tenant = f"t{n // 4}"
        await ledger.finish(finished_record(f"r{n}", tenant=tenant, cost=cost, create_time_ns=1000 + n))
    expected = (Cost(10, "EUR", "v1"), Cost(10, "USD", ""))
    (total,) = await ledger.summarize(RecordQuery(), Grouping(), 10)
    assert (total.count, total.costs) == (8, expected)
    groups = await ledger.summarize(RecordQuery(), Grouping(tenant=True), 1)
    assert [(one.tenant, one.count, one.costs) for one in groups] == [
        ("t0", 4, (Cost(5, "EUR", "v1"), Cost(5, "USD", "")))
    ]
    assert {record.cost for record in await ledger.list_records(RecordQuery(), None, 9)} == set(costs)
    assert [entry.record.cost for entry in await ledger.entries(0, 4)] == costs
