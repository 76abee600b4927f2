"""What is written to the ledger, and how a group of it becomes rows: entries, and the records as of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from msgspec import structs

from tokengrpc.core.model import Usage, UsageReport, UsageSource
from tokengrpc.core.ports.ledger import RecordState, UsageRecord
from tokengrpc.core.ports.usage_reader import EntryKind, LedgerEntry
from tokengrpc.core.prices import PriceList
from tokengrpc.stores.sql.budgets import add_used
from tokengrpc.stores.sql.schema import USAGE_COLUMNS, counter, entries, records
from tokengrpc.stores.sql.stored_text import encodable, storable
from tokengrpc.stores.sql.upserts import upserts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from tokengrpc.core.model import Cost


class Begin(msgspec.Struct, frozen=True):
    """Store the record of a generation that an engine has accepted."""

    record: UsageRecord


class Finish(msgspec.Struct, frozen=True):
    """Close a record."""

    record: UsageRecord


class Settle(msgspec.Struct, frozen=True):
    """Store the usage that an engine reported late."""

    record_id: str
    usage: UsageReport


class Checkpoint(msgspec.Struct, frozen=True):
    """Store the usage so far of open records, by record id."""

    usages: Mapping[str, Usage]


class Lose(msgspec.Struct, frozen=True):
    """Close the open records of processes that have died: with their last checkpoint, as an estimate."""

    record_ids: Sequence[str]
    seen_ns: Mapping[str, int]
    """By record id, when its process was last seen."""


class Reprice(msgspec.Struct, frozen=True):
    """Replace the costs of closed records by those of the prices in force, where there is a price."""

    record_ids: Sequence[str]


Work = Begin | Finish | Settle | Checkpoint | Lose | Reprice

NO_PRICES = PriceList()

_decoder = msgspec.json.Decoder(UsageRecord)


def write(
    connection: sa.Connection,
    works: Sequence[Work],
    run_id: str,
    now_ns: int,
    prices: PriceList = NO_PRICES,
) -> Sequence[LedgerEntry]:
    """Writes a group in a transaction that has begun, and returns the entries that it added.

    `run_id` is that of this process. `prices` are for LOST and repriced records.
    """
    group = _Group(connection, works, run_id, now_ns, prices)
    for work in works:
        group.add(work)
    added = group.store()
    usages = {
        id_: usage for work in works if isinstance(work, Checkpoint) for id_, usage in work.usages.items()
    }
    if usages:
        connection.execute(
            _CHECKPOINT,
            [{"at": id_, **usage_columns(usage)} for id_, usage in usages.items()],
        )
    return added


def usage_columns(usage: Usage) -> dict[str, int]:
    """Returns the columns of a usage."""
    return {**{name: getattr(usage, name) for name in USAGE_COLUMNS}, "source": int(usage.source)}


def record_of(row: sa.Row[Any]) -> UsageRecord:
    """Returns the record of a row of `usage_records`."""
    record = _decoder.decode(row.body)
    if row.state != RecordState.OPEN:
        return record
    return structs.replace(
        record, usage=Usage(**{n: getattr(row, n) for n in USAGE_COLUMNS}, source=UsageSource(row.source))
    )


def lock(connection: sa.Connection) -> int:
    """Waits for all other writers until this transaction ends. Returns the last sequence.

    The counter's row orders the groups of all processes, so that sequences have no gap and commit in order.
    """
    last: int = connection.execute(_LOCK).scalar_one()
    return last


# Made once: to make a statement takes longer than to run it.
_LOCK = sa.select(counter.c.last_sequence).with_for_update()
_COUNT = counter.update().values(last_sequence=sa.bindparam("last_sequence"))
_CONCERNED = records.select().where(records.c.record_id.in_(sa.bindparam("ids", expanding=True)))
_APPEND = entries.insert()
_CHECKPOINT = records.update().where(
    records.c.record_id == sa.bindparam("at"), records.c.state == RecordState.OPEN.value
)


class _Group:
    """The records that a group concerns, as they become, and the entries that it adds."""

    def __init__(
        self,
        connection: sa.Connection,
        works: Sequence[Work],
        run_id: str,
        now_ns: int,
        prices: PriceList,
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._now = now_ns
        self._prices = prices
        self._entries: list[LedgerEntry] = []
        self._changed: dict[str, UsageRecord] = {}
        concerned = list(_concerned(works))
        self._sequence = lock(connection) if concerned else 0
        self._records = {
            row.record_id: record_of(row)
            for row in (connection.execute(_CONCERNED, {"ids": concerned}) if concerned else ())
        }

    def add(self, work: Work) -> None:
        """Takes one work. One that was done before changes nothing."""
        match work:
            case Begin(record) if record.record_id not in self._records:
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
        self._entries.append(
            LedgerEntry(
                sequence=self._sequence,
                kind=kind,
                time_ns=self._now,
                record=record,
                previous_usage=replaced.usage if replaced else None,
                previous_cost=replaced.cost if replaced else None,
            )
        )

    def store(self) -> Sequence[LedgerEntry]:
        """Writes the rows. Returns the entries among them."""
        if self._entries:
            connection = self._connection
            connection.execute(_APPEND, list(map(_entry_row, self._entries)))
            connection.execute(_COUNT, {"last_sequence": self._sequence})
            connection.execute(
                _UPSERTS[connection.dialect.name], [self._row(record) for record in self._changed.values()]
            )
            add_used(connection, self._entries)
        return self._entries

    def _row(self, record: UsageRecord) -> dict[str, object]:
        return {
            "record_id": record.record_id,
            "run_id": self._run_id,
            "state": record.state.value,
            "tenant": storable(record.tenant),
            "generation_id": storable(record.generation_id),
            "model": storable(record.model),
            "create_time_ns": record.create_time_ns,
            **usage_columns(record.usage),
            "cost_micros": record.cost.amount_micros if record.cost else 0,
            "currency": record.cost.currency if record.cost else "",
            "price_version": record.cost.price_version if record.cost else "",
            "labels": {storable(key): storable(value) for key, value in record.labels.items()},
            "body": _encoded(record),
        }


def _entry_row(entry: LedgerEntry) -> dict[str, object]:
    return {
        "sequence": entry.sequence,
        "record_id": entry.record.record_id,
        "tenant": storable(entry.record.tenant),
        "kind": entry.kind.value,
        "time_ns": entry.time_ns,
        "body": _encoded(entry),
    }


def cost_of(record: UsageRecord, prices: PriceList) -> Cost | None:
    """Returns what a record costs; None without a price."""
    return prices.cost(record.model, record.usage, record.attempts, record.create_time_ns)


def _encoded(value: UsageRecord | LedgerEntry) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return encodable(json.dumps(msgspec.to_builtins(value), ensure_ascii=False))


def _concerned(works: Iterable[Work]) -> Iterable[str]:
    for work in works:
        match work:
            case Begin(record) | Finish(record):
                yield record.record_id
            case Settle(record_id):
                yield record_id
            case Lose(record_ids) | Reprice(record_ids):
                yield from record_ids


_KEPT = {"record_id", "run_id"}
_UPSERTS = upserts(records, lambda new: {c.name: new[c.name] for c in records.c if c.name not in _KEPT})
