"""The statements of a group, as text: to compile them each time would take longer than to run them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg

from tokengrpc.stores.sql.schema import USAGE_COLUMNS, counter, entries, records
from tokengrpc.stores.sql.upserts import upserts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DIALECTS = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": psycopg.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]  # of SQLAlchemy
}

# SQLite writes each index anew that has a column among the changed ones, even if its value stays.
_CONSTANT = {"record_id", "run_id", "tenant", "generation_id", "model", "create_time_ns", "labels"}


class Statement:
    """A statement of each dialect with its parameters' names in order."""

    def __init__(self, by_dialect: Mapping[str, sa.UpdateBase], columns: Sequence[str] | None = None) -> None:
        """Takes the statement by the dialect's name. An UPDATE sets `columns`."""
        compiled = {
            name: statement.compile(dialect=_DIALECTS[name], column_keys=columns)
            for name, statement in by_dialect.items()
        }
        self._texts = {name: str(each) for name, each in compiled.items()}
        self._names = {name: tuple(each.positiontup or ()) for name, each in compiled.items()}

    def run(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Runs the statement with each of the rows, all in one call of the driver."""
        dialect = connection.dialect.name
        names = self._names[dialect]
        values = [tuple([row[name] for name in names]) for row in rows]
        if values:
            connection.exec_driver_sql(self._texts[dialect], values)


def _everywhere(statement: sa.UpdateBase, columns: Sequence[str] | None = None) -> Statement:
    return Statement(dict.fromkeys(_DIALECTS, statement), columns)


APPEND = _everywhere(entries.insert())
"""Adds entries."""

COUNT = _everywhere(counter.update(), ["last_sequence"])
"""Stores the last sequence."""

CREATE = _everywhere(records.insert())
"""Adds records. Fails if there is one of this id."""

STORE = Statement(
    upserts(records, lambda new: {c.name: new[c.name] for c in records.c if c.name not in _CONSTANT})
)
"""Adds records, or changes those that there are."""

CHECKPOINT = _everywhere(
    records.update().where(
        records.c.record_id == sa.bindparam("at"), records.c.state == sa.literal_column("'OPEN'")
    ),
    [*USAGE_COLUMNS, "source"],
)
"""Changes the usage of records that are open. `at` is the record's id."""
