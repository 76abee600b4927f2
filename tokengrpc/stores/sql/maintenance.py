"""Work on the ledger's database besides its servers: pricing records again, and removing old ones.

Each transaction concerns a bounded number of records and takes the lock that orders all writers, so servers
may run meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tokengrpc.config import ConfigError, price_list
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.stores.sql import group, schema, works
from tokengrpc.stores.sql.database import translated
from tokengrpc.stores.sql.ledger import FILE, create_postgresql, create_sqlite
from tokengrpc.stores.sql.schema import USAGE_COLUMNS, entries, pruned_sums, records
from tokengrpc.stores.sql.stored_text import storable
from tokengrpc.stores.sql.upserts import upserts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.prices import PriceList

_GROUP = 500
"""Most records in one transaction."""

_HOUR = 3_600_000_000_000
_SUMMED = ("records", "lost", *USAGE_COLUMNS, "cost_micros")
_INDEXED = (schema.BEGINS, schema.CLOSES, schema.CHANGES)
"""Kinds of entries: those of a record are found by an index for each."""


class Maintenance:
    """Maintenance of a ledger. Each call may raise StoreUnavailable; what was committed by then remains."""

    def __init__(self, database: sa.Engine, prices: PriceList) -> None:
        """Takes the database and the prices that `reprice` applies."""
        self._database = database
        self._prices = prices

    def reprice(self, start_ns: int, *, dry_run: bool) -> tuple[int, Mapping[str, int]]:
        """Prices closed records again, from a `create_time_ns` on.

        Returns how many costs have changed, and by how much in all, in millionths of each currency.
        """
        count, change = 0, Counter[str]()
        position = (start_ns, "")
        while True:
            with translated("usage ledger"), self._database.connect() as connection:
                transaction = connection.begin()
                page = connection.execute(_closed_after(position)).all()
                added = group.write(
                    connection,
                    [works.Reprice([row.record_id for row in page])],
                    run_id="",
                    now_ns=time.time_ns(),
                    prices=self._prices,
                )
                if dry_run:
                    transaction.rollback()
                else:
                    transaction.commit()
            for entry in added:
                for cost, sign in ((entry.record.cost, 1), (entry.previous_cost, -1)):
                    if cost is not None:
                        change[cost.currency] += sign * cost.amount_micros
            count += len(added)
            if len(page) < _GROUP:
                return count, change
            position = (page[-1].create_time_ns, page[-1].record_id)

    def prune(self, end_ns: int | None, tenant: str, *, dry_run: bool) -> int:
        """Removes closed records before a `create_time_ns`, of one tenant or of all, with their entries.

        Their sums remain. Returns the number of records.
        """
        conditions: list[sa.ColumnElement[bool]] = [records.c.state != RecordState.OPEN.value]
        if end_ns is not None:
            conditions.append(records.c.create_time_ns < end_ns)
        if tenant:
            conditions.append(records.c.tenant == storable(tenant))
        if dry_run:
            with translated("usage ledger"), self._database.connect() as connection:
                return connection.scalar(sa.select(sa.func.count()).where(*conditions)) or 0
        count = 0
        while removed := self._prune_some(conditions):
            count += removed
        return count

    def _prune_some(self, conditions: Sequence[sa.ColumnElement[bool]]) -> int:
        with translated("usage ledger"), self._database.begin() as connection:
            group.lock(connection)
            ids = connection.scalars(sa.select(records.c.record_id).where(*conditions).limit(_GROUP)).all()
            if ids:
                chosen = records.c.record_id.in_(ids)
                connection.execute(_ADDED[connection.dialect.name], _sums(connection, chosen))
                for kinds in _INDEXED:
                    connection.execute(entries.delete().where(entries.c.record_id.in_(ids), kinds))
                connection.execute(records.delete().where(chosen))
        return len(ids)


def _closed_after(position: tuple[int, str]) -> sa.Select[Any]:
    place = sa.tuple_(records.c.create_time_ns, records.c.record_id)
    return (
        sa.select(records.c.record_id, records.c.create_time_ns)
        .where(place > sa.tuple_(*position), records.c.state != RecordState.OPEN.value)
        .order_by(records.c.create_time_ns, records.c.record_id)
        .limit(_GROUP)
    )


def _sums(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
    """Returns the rows of `pruned_sums` for the chosen records."""
    time_ns = records.c.create_time_ns
    keys = [records.c[name] for name in ("tenant", "model", "currency", "price_version", "source")]
    lost = sa.case((records.c.state == RecordState.LOST.value, 1), else_=0)
    statement = sa.select(
        (time_ns - time_ns % _HOUR).label("hour_ns"),
        *keys,
        sa.func.count().label("records"),
        sa.func.sum(lost).label("lost"),
        *(sa.func.sum(records.c[name]).label(name) for name in (*USAGE_COLUMNS, "cost_micros")),
    )
    # The hour by its number, because a parameter in an expression makes it another one for PostgreSQL.
    rows = connection.execute(statement.where(chosen).group_by(sa.text("1"), *keys)).mappings()
    return [{**row, **{name: int(row[name]) for name in _SUMMED}} for row in rows]


_ADDED = upserts(pruned_sums, lambda new: {name: pruned_sums.c[name] + new[name] for name in _SUMMED})


@contextmanager
def opened(settings: Settings) -> Iterator[Maintenance]:
    """Opens the ledger that settings name. Raises ConfigError, StoreUnavailable."""
    with opened_database(settings) as database:
        yield Maintenance(database, price_list(settings.prices))


@contextmanager
def opened_database(settings: Settings, *, create: bool = False) -> Iterator[sa.Engine]:
    """Opens the database of the ledger that settings name, with all tables.

    `create` is whether a file that does not exist is made. Raises ConfigError, StoreUnavailable.
    """
    value = settings.chosen_ledger
    kind = value.partition(":")[0]
    options = settings.plugins.get(kind, {})
    if kind == "sqlite":
        database = create_sqlite(value, options, settings).database
        path = Path(value.partition(":")[2] or Path(settings.data_dir) / FILE)
        if create:
            with translated("usage ledger"):
                path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise ConfigError(f"ledger: there is no database {path}: check data_dir")
    elif kind == "postgresql":
        database = create_postgresql(value, options, settings).database
    else:
        raise ConfigError(
            f"ledger: `{kind}` has no database: pass the server's settings with --config, which name its "
            "data_dir, or a ledger in sqlite or postgresql"
        )
    try:
        with translated("usage ledger"):
            schema.migrate(database)
        yield database
    finally:
        database.dispose()
