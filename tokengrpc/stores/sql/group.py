"""How a group of works becomes rows: entries, and the records as of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from msgspec import structs

from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import EntryKind, LedgerEntry
from tokengrpc.core.prices import PriceList
from tokengrpc.stores.sql import statements
from tokengrpc.stores.sql.budgets import add_used
from tokengrpc.stores.sql.rows import encoded, entry_row, record_of, record_row, usage_columns
from tokengrpc.stores.sql.schema import records
from tokengrpc.stores.sql.works import Begin, Checkpoint, Finish, Lose, Reprice, Settle, Work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tokengrpc.core.model import Cost
    from tokengrpc.core.ports.ledger import UsageRecord

NO_PRICES = PriceList()


def write(
    connection: sa.Connection,
    works: Sequence[Work],
    run_id: str,
    now_ns: int,
    prices: PriceList = NO_PRICES,
    *,
    begun: Collection[str] | None = None,
) -> Sequence[LedgerEntry]:
    """Writes a group in a transaction that has begun, and returns the entries that it added.

    `run_id` is that of this process. `prices` are for LOST and repriced records. With `begun`, records that
    begin are believed to be new, and those of these ids to be open, so that they are not read. If that is
    wrong, the database refuses the entries, and this raises IntegrityError: write again without `begun`.
    """
    group = _Group(connection, works, now_ns, prices, begun)
    for work in works:
        group.add(work)
    group.store(run_id)
    usages = {
        id_: usage for work in works if isinstance(work, Checkpoint) for id_, usage in work.usages.items()
    }
    statements.CHECKPOINT.run(
        connection, [{"at": id_, **usage_columns(usage)} for id_, usage in usages.items()]
    )
    return group.entries


def lock(connection: sa.Connection) -> int:
    """Waits for all other writers until this transaction ends. Returns the last sequence.

    The counter's row orders the groups of all processes, so that sequences have no gap and commit in order.
    """
    return statements.LAST_SEQUENCE.of(connection) or 0


# Made once: to make a statement takes longer than to run it.
_CONCERNED = records.select().where(records.c.record_id.in_(sa.bindparam("ids", expanding=True)))


class _Group:
    """The records that a group concerns, as they become, and the entries that it adds."""

    def __init__(
        self,
        connection: sa.Connection,
        works: Sequence[Work],
        now_ns: int,
        prices: PriceList,
        begun: Collection[str] | None,
    ) -> None:
        self._connection = connection
        self._now_ns = now_ns
        self._prices = prices
        self.entries: list[LedgerEntry] = []
        self._changed: dict[str, UsageRecord] = {}
        self._created: set[str] = set()
        # Those that were begun before, perhaps by another process, whose generation this one continues.
        self._adopted: list[str] = []
        locked = any(not isinstance(work, Checkpoint) for work in works)
        self._sequence = lock(connection) if locked else 0
        concerned = list(_concerned(works, begun))
        self._records = {
            row.record_id: record_of(row)
            for row in (connection.execute(_CONCERNED, {"ids": concerned}) if concerned else ())
        }

    def add(self, work: Work) -> None:
        """Takes one work. One that was done before changes nothing."""
        match work:
            case Begin(record) if record.record_id in self._records:
                self._adopted.append(record.record_id)
            case Begin(record):
                self._created.add(record.record_id)
                self._put(EntryKind.BEGIN, record)
            case Finish(record):
                self._finish(record)
            case Settle(record_id, usage):
                before = self._records.get(record_id)
                if before is not None and before.settled_usage != usage:
                    self._put(EntryKind.SETTLE, structs.replace(before, settled_usage=usage))
            case Lose(record_ids, seen_ns):
                for record_id in record_ids:
                    self._lose(record_id, seen_ns[record_id])
            case Reprice(record_ids):
                for record_id in record_ids:
                    self._reprice(record_id)

    def _finish(self, record: UsageRecord) -> None:
        before = self._records.get(record.record_id)
        if before is not None and (before.state is RecordState.CLOSED or record.lost):
            return
        if before is not None and before.settled_usage is not None:
            record = structs.replace(record, settled_usage=before.settled_usage)
        if before is not None and before.state is RecordState.LOST:
            self._put(EntryKind.ADJUST, record, before)
        else:
            if record.lost:
                record = structs.replace(record, cost=cost_of(record, self._prices))
            self._put(EntryKind.LOST if record.lost else EntryKind.FINISH, record)

    def _lose(self, record_id: str, seen_ns: int) -> None:
        before = self._records.get(record_id)
        if before is not None and before.state is RecordState.OPEN:
            lost = before.as_lost(seen_ns)
            self._put(EntryKind.LOST, structs.replace(lost, cost=cost_of(lost, self._prices)))

    def _reprice(self, record_id: str) -> None:
        before = self._records.get(record_id)
        if before is None or before.state is RecordState.OPEN:
            return
        cost = cost_of(before, self._prices)
        if cost not in {None, before.cost}:
            self._put(EntryKind.ADJUST, structs.replace(before, cost=cost), before)

    def _put(self, kind: EntryKind, record: UsageRecord, replaced: UsageRecord | None = None) -> None:
        """Adds an entry. `replaced` is the record before an ADJUST."""
        self._records[record.record_id] = self._changed[record.record_id] = record
        self._sequence += 1
        self.entries.append(
            LedgerEntry(
                sequence=self._sequence,
                kind=kind,
                time_ns=self._now_ns,
                record=record,
                previous_usage=replaced.usage if replaced else None,
                previous_cost=replaced.cost if replaced else None,
            )
        )

    def store(self, run_id: str) -> None:
        """Writes the rows."""
        connection, created = self._connection, self._created
        statements.ADOPT.run(connection, [{"at": id_, "run_id": run_id} for id_ in self._adopted])
        if not self.entries:
            return
        bodies = [encoded(entry.record) for entry in self.entries]
        statements.APPEND.run(connection, list(map(entry_row, self.entries, bodies)))
        statements.COUNT.run(connection, [{"last_sequence": self._sequence}])
        # Of several entries of a record, the last one's body is the record's.
        last = {entry.record.record_id: body for entry, body in zip(self.entries, bodies, strict=True)}
        rows = {id_: record_row(self._changed[id_], body, run_id) for id_, body in last.items()}
        statements.CREATE.run(connection, [row for id_, row in rows.items() if id_ in created])
        statements.STORE.run(connection, [row for id_, row in rows.items() if id_ not in created])
        add_used(connection, self.entries)


def cost_of(record: UsageRecord, prices: PriceList) -> Cost | None:
    """Returns what a record costs; None without a price."""
    return prices.cost(record.model, record.usage, record.attempts, record.create_time_ns)


def _concerned(works: Iterable[Work], begun: Collection[str] | None) -> Iterable[str]:
    """Returns the ids of the records that have to be read."""
    for work in works:
        match work:
            case Begin(record):
                if begun is None:
                    yield record.record_id
            case Finish(record):
                if begun is None or record.lost or record.record_id not in begun:
                    yield record.record_id
            case Settle(record_id):
                yield record_id
            case Lose(record_ids) | Reprice(record_ids):
                yield from record_ids
