"""Repricing and pruning, in SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from msgspec import structs

from tests.support.ledgers import postgresql, sqlite, sqlite_ledger
from tests.support.records import finished_record, usage_record
from tokengrpc.core.model import Cost, Usage, UsageReport, UsageSource
from tokengrpc.core.ports.usage_reader import Buckets, EntryKind, Grouping, RecordQuery, TimeUnit
from tokengrpc.core.prices import Price, PriceList, Rates
from tokengrpc.stores.sql import schema
from tokengrpc.stores.sql.maintenance import Maintenance
from tokengrpc.stores.sql.schema import pruned_sums

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tokengrpc.stores.sql.ledger import SqlLedger

HOUR = 3_600_000_000_000
GROUPINGS = (
    Grouping(),
    Grouping(tenant=True, model=True),
    Grouping(buckets=Buckets(length_ns=HOUR)),
    Grouping(model=True, buckets=Buckets(unit=TimeUnit.DAY)),
)


def prices(rate: int, version: str) -> PriceList:
    rates = Rates(input=rate, cached_input=rate, cache_write_input=rate, output=rate, reasoning=rate)
    return PriceList([Price(model="m0", currency="USD", version=version, rates=rates)])


@pytest.fixture(params=[sqlite, postgresql], ids=["sqlite", "postgresql"])
async def ledger(request, tmp_path: Path) -> AsyncIterator[SqlLedger]:
    with request.param(request, tmp_path) as made:
        await made.start()
        yield made
        await made.close()


async def fill(ledger: SqlLedger, count: int) -> None:
    """Stores records in different hours, of two tenants and three models, some without a cost."""
    for n in range(count):
        cost = None if n % 5 == 0 else Cost(n, "USD" if n % 2 else "EUR", f"v{n % 3}")
        record = finished_record(
            f"r{n}",
            tenant=f"t{n % 2}",
            model=f"m{n % 3}",
            create_time_ns=n * HOUR // 3,
            usage=Usage(10, n, source=UsageSource.ENGINE if n % 2 else UsageSource.ESTIMATED),
            cost=cost,
        )
        await ledger.begin(record)
        await ledger.finish(record)
        await ledger.settle(f"r{n}", UsageReport(output=n))


@pytest.mark.parametrize("tenant", ["", "t1"])
async def test_summaries_are_the_same_after_a_prune(ledger: SqlLedger, tenant: str) -> None:
    """By tenant, model, hour and day, also if pruned bit by bit. Open records stay."""
    await fill(ledger, 80)
    await ledger.begin(usage_record("open", tenant="t1", create_time_ns=0))
    before = [await ledger.summarize(RecordQuery(), grouping, 1000) for grouping in GROUPINGS]
    maintenance = Maintenance(ledger.database, PriceList())
    assert maintenance.prune(30 * HOUR, tenant, dry_run=True) == (40 if tenant else 80)
    for hours in (5, 17, 30):
        maintenance.prune(hours * HOUR, tenant, dry_run=False)
    assert [await ledger.summarize(RecordQuery(), grouping, 1000) for grouping in GROUPINGS] == before
    left = {record.record_id for record in await ledger.list_records(RecordQuery(), None, 1000)}
    assert left == {"open"} | ({f"r{n}" for n in range(0, 80, 2)} if tenant else set())
    assert {entry.record.record_id for entry in await ledger.entries(0, 1000)} == left
    with ledger.database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(pruned_sums))


async def test_new_prices_adjust_what_changes(ledger: SqlLedger) -> None:
    """Once. Records of models without a price keep their cost; open ones are left alone."""
    await fill(ledger, 12)
    await ledger.begin(usage_record("open", model="m0", create_time_ns=9 * HOUR))
    maintenance = Maintenance(ledger.database, prices(1_000_000, "new"))
    last = (await ledger.entries(0, 1000))[-1].sequence
    expected = {f"r{n}": Cost(10 + n, "USD", "new") for n in (3, 6, 9)}
    dry = maintenance.reprice(HOUR, dry_run=True)
    assert dry == (3, {"USD": sum(cost.amount_micros for cost in expected.values()) - 3 - 9, "EUR": -6})
    assert not await ledger.entries(last, 10)
    assert maintenance.reprice(HOUR, dry_run=False) == dry
    adjusts = await ledger.entries(last, 10)
    assert {entry.record.record_id: entry.record.cost for entry in adjusts} == expected
    assert {entry.kind for entry in adjusts} == {EntryKind.ADJUST}
    assert [entry.previous_cost for entry in adjusts] == [
        Cost(3, "USD", "v0"),
        Cost(6, "EUR", "v0"),
        Cost(9, "USD", "v0"),
    ]
    assert maintenance.reprice(HOUR, dry_run=False) == (0, {})


async def test_lost_records_have_a_cost(ledger: SqlLedger) -> None:
    """That of their last checkpoint; the usage that comes after all replaces it."""
    ledger.use_prices(prices(1_000_000, "v"))
    record = usage_record("r", model="m0", usage=Usage(input=3))
    await ledger.finish(structs.replace(record, lost=True, end_time_ns=5))
    (entry,) = await ledger.entries(0, 10)
    assert (entry.kind, entry.record.cost) == (EntryKind.LOST, Cost(3, "USD", "v"))
    await ledger.finish(finished_record("r", model="m0", cost=Cost(8, "USD", "v")))
    adjust = (await ledger.entries(0, 10))[-1]
    assert (adjust.kind, adjust.previous_cost) == (EntryKind.ADJUST, Cost(3, "USD", "v"))


@pytest.mark.parametrize("kinds", [schema.BEGINS, schema.CLOSES, schema.CHANGES], ids=str)
async def test_deletions_use_indexes(tmp_path: Path, kinds: sa.TextClause) -> None:
    """A prune does not read all entries for each group of records."""
    ledger = sqlite_ledger(tmp_path)
    await ledger.start()
    with ledger.database.connect() as connection:
        delete = f"DELETE FROM ledger_entries WHERE record_id IN (?, ?) AND {kinds}"
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {delete}", ("a", "b")).all()
    assert "USING INDEX" in str(plan), plan
    await ledger.close()
