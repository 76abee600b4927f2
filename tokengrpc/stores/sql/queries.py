"""Queries of the ledger: records, sums and entries."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from tokengrpc.core.model import Cost, Usage, UsageSource
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import LedgerEntry, TimeUnit, UsageSum
from tokengrpc.stores.calendar import bucket_spans
from tokengrpc.stores.sql.database import translated
from tokengrpc.stores.sql.labels import label_of
from tokengrpc.stores.sql.rows import record_of
from tokengrpc.stores.sql.schema import USAGE_COLUMNS, entries, pruned_sums, records
from tokengrpc.stores.sql.stored_text import storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.usage_reader import Buckets, Grouping, PageStart, RecordQuery
    from tokengrpc.stores.calendar import Span

SUMMED_COLUMNS = (*USAGE_COLUMNS, "records", "lost", "cost_micros")

_entry_decoder = msgspec.json.Decoder(LedgerEntry)


class Queries:
    """Reads the ledger, each time in a transaction of its own. Every call may raise StoreUnavailable."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine.execution_options(reads=True)

    def find(self, tenant: str, generation_id: str) -> UsageRecord | None:
        """See `UsageReader`."""
        found = (records.c.tenant == storable(tenant)) & (records.c.generation_id == storable(generation_id))
        rows = self._all(records.select().where(found).order_by(records.c.create_time_ns.desc()).limit(1))
        return record_of(rows[0]) if rows else None

    def list_records(self, query: RecordQuery, after: PageStart | None, limit: int) -> Sequence[UsageRecord]:
        """See `UsageReader`."""
        position = sa.tuple_(records.c.create_time_ns, records.c.record_id)
        statement = records.select().where(*self._conditions(query))
        if after is not None:
            statement = statement.where(position < sa.tuple_(*after))
        newest = (records.c.create_time_ns.desc(), records.c.record_id.desc())
        return [record_of(row) for row in self._all(statement.order_by(*newest).limit(limit))]

    def summarize(self, query: RecordQuery, grouping: Grouping, limit: int) -> Sequence[UsageSum]:
        """See `UsageReader`."""
        counted = self._counted(query, grouping)
        keys: dict[str, sa.ColumnElement[Any]] = {
            name: counted.c[name]
            for name, chosen in (
                ("tenant", grouping.tenant),
                ("model", grouping.model),
                ("label_value", grouping.label),
            )
            if chosen
        }
        if grouping.buckets:
            keys["bucket_ns"] = self._bucket(counted, grouping.buckets)
        labels = [key.label(name) for name, key in keys.items()]
        # By number, because a parameter in an expression makes it another expression for PostgreSQL.
        numbers = [sa.text(str(n + 1)) for n in range(len(labels) + 1)]
        sums = (sa.func.sum(counted.c[name]).label(f"sum_{name}") for name in SUMMED_COLUMNS)
        by_currency = (
            sa.select(
                *labels,
                counted.c.currency,
                *sums,
                sa.func.max(counted.c.source).label("source"),
                sa.func.min(counted.c.price_version).label("first_version"),
                sa.func.max(counted.c.price_version).label("last_version"),
            )
            .group_by(*numbers)
            .subquery()
        )
        places = [by_currency.c[name] for name in keys] or [sa.literal(1)]
        place = sa.func.dense_rank().over(order_by=places).label("place")
        ranked = sa.select(by_currency, place).subquery()
        statement = ranked.select().where(ranked.c.place <= limit).order_by("place", "currency")
        groups = groupby(self._all(statement), key=lambda row: row.place)
        return [_sum_of(list(rows), list(keys)) for _, rows in groups]

    def entries(self, after: int, limit: int, tenant: str) -> Sequence[LedgerEntry]:
        """See `UsageReader`."""
        later = _of(tenant, entries.select().where(entries.c.sequence > after))
        rows = self._all(later.order_by(entries.c.sequence).limit(limit))
        return [_entry_decoder.decode(row.body) for row in rows]

    def newest_sequence(self, tenant: str) -> int:
        """See `UsageReader`."""
        ((newest,),) = self._all(_of(tenant, sa.select(sa.func.max(entries.c.sequence))))
        return newest or 0

    def _counted(self, query: RecordQuery, grouping: Grouping) -> sa.FromClause:
        """Returns what a summary sums up: records, and sums of records that were pruned."""
        label: sa.ColumnElement[Any] = sa.literal("", sa.Text)
        if grouping.label:
            label = sa.func.coalesce(label_of(self._engine.dialect, grouping.label), "")
        common = [*USAGE_COLUMNS, "cost_micros", "source", "tenant", "model", "currency", "price_version"]
        live = sa.select(
            records.c.create_time_ns.label("time_ns"),
            label.label("label_value"),
            sa.literal(1, sa.BigInteger).label("records"),
            sa.case((records.c.state == RecordState.LOST.value, 1), else_=0).label("lost"),
            *(records.c[name] for name in common),
        ).where(*self._conditions(query))
        if query.labels or query.generation_id:
            return live.subquery()
        table = pruned_sums.c
        pruned = sa.select(
            table.hour_ns.label("time_ns"),
            sa.literal("", sa.Text).label("label_value"),
            table.records,
            table.lost,
            *(table[name] for name in common),
        ).where(*_pruned_conditions(query))
        return live.union_all(pruned).subquery()

    def _bucket(self, counted: sa.FromClause, buckets: Buckets) -> sa.ColumnElement[Any]:
        time = counted.c.time_ns
        if buckets.unit is None:
            return time - time % buckets.length_ns
        earliest, latest = sa.func.min(time), sa.func.max(time)
        (span,) = self._all(sa.select(earliest.label("first"), latest.label("last")))
        spans = bucket_spans(span.first or 0, span.last or 0, TimeUnit(buckets.unit), buckets.zone)
        return _searched(time, spans)

    def _conditions(self, query: RecordQuery) -> list[sa.ColumnElement[bool]]:
        wanted = (
            (records.c.tenant, query.tenant),
            (records.c.model, query.model),
            (records.c.generation_id, query.generation_id),
        )
        dialect = self._engine.dialect
        labelled = [label_of(dialect, key) == storable(value) for key, value in query.labels.items()]
        return [*_matching(wanted, records.c.create_time_ns, query), *labelled]

    def _all(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with translated("usage ledger"), self._engine.connect() as connection:
            return connection.execute(statement).all()


def _searched(time: sa.ColumnElement[int], spans: Sequence[Span]) -> sa.ColumnElement[Any]:
    """Returns the start of the unit with a time. Bisects, because databases limit nested CASEs."""
    if len(spans) == 1:
        start, length = spans[0]
        return time - (time - start % length) % length
    middle = len(spans) // 2
    later = time >= spans[middle].start_ns
    return sa.case((later, _searched(time, spans[middle:])), else_=_searched(time, spans[:middle]))


def _of(tenant: str, found: sa.Select[Any]) -> sa.Select[Any]:
    """Returns the entries of one tenant; all if it is empty."""
    return found.where(entries.c.tenant == tenant) if tenant else found


def _pruned_conditions(query: RecordQuery) -> list[sa.ColumnElement[bool]]:
    wanted = ((pruned_sums.c.tenant, query.tenant), (pruned_sums.c.model, query.model))
    return _matching(wanted, pruned_sums.c.hour_ns, query)


def _matching(
    wanted: Iterable[tuple[sa.ColumnElement[str], str]], time: sa.ColumnElement[int], query: RecordQuery
) -> list[sa.ColumnElement[bool]]:
    """Returns the conditions for columns with wanted values, if any, and for the times of a query."""
    conditions = [column == storable(value) for column, value in wanted if value]
    if query.start_ns is not None:
        conditions.append(time >= query.start_ns)
    if query.end_ns is not None:
        conditions.append(time < query.end_ns)
    return conditions


def _sum_of(rows: Sequence[sa.Row[Any]], keys: Sequence[str]) -> UsageSum:
    """Returns the sum of a group, which has a row for each currency; the empty one is for no cost."""
    total = {name: sum(int(getattr(row, f"sum_{name}")) for row in rows) for name in SUMMED_COLUMNS}
    usage = Usage(
        **{name: total[name] for name in USAGE_COLUMNS},
        source=UsageSource(max(row.source for row in rows)),
    )
    costs = tuple(
        Cost(
            amount_micros=int(row.sum_cost_micros),
            currency=row.currency,
            price_version=row.first_version if row.first_version == row.last_version else "",
        )
        for row in rows
        if row.currency
    )
    return UsageSum(
        **{key: getattr(rows[0], key) for key in keys},
        count=total["records"],
        lost=total["lost"],
        usage=usage,
        costs=costs,
    )
