"""Writes a group to SQLite by one statement, which is a transaction of its own.

Each call of the driver releases Python's lock, and gets it back only when a busy event loop gives it up. So a
transaction of many statements costs more by its calls than by what SQLite does. Here, a temporary view takes
one row for each work, and its triggers write the tables.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa

from tokengrpc.core.ports.usage_reader import EntryKind
from tokengrpc.stores.sql.prepared import DIALECTS, as_sqlalchemy
from tokengrpc.stores.sql.rows import encoded, record_row
from tokengrpc.stores.sql.schema import records
from tokengrpc.stores.sql.statements import STORED
from tokengrpc.stores.sql.works import Begin, Finish

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.dialects.sqlite import Insert

    from tokengrpc.stores.sql.works import Work

_COLUMNS = (*records.c.keys(), "kind", "time_ns")
_NEW: dict[str, sa.ColumnClause[object]] = {
    column.name: sa.literal_column(f"NEW.{column.name}") for column in records.c
}
_ROW = f"({', '.join('?' * len(_COLUMNS))})"

# The body is `rows.entry_row`'s: the number is known only here, under the database's lock.
_ENTRY = """
    INSERT INTO ledger_entries (sequence, record_id, tenant, kind, time_ns, body)
    SELECT last_sequence + 1, NEW.record_id, NEW.tenant, NEW.kind, NEW.time_ns,
        '{"sequence":' || (last_sequence + 1) || ',"kind":"' || NEW.kind || '","time_ns":' || NEW.time_ns
        || ',"record":' || NEW.body || ',"previous_usage":null,"previous_cost":null}'
    FROM ledger_counter;
    UPDATE ledger_counter SET last_sequence = last_sequence + 1;
"""
_HAS_BUDGETS = "a budget counts this record"


def _compiled(statement: sa.Insert) -> str:
    return str(statement.values(_NEW).inline().compile(dialect=DIALECTS["sqlite"]))


_SCHEMA = f"""
CREATE TEMP VIEW ledger_works AS SELECT {", ".join(f"NULL AS {name}" for name in _COLUMNS)};
CREATE TEMP TRIGGER ledger_begins INSTEAD OF INSERT ON ledger_works WHEN NEW.kind = 'BEGIN' BEGIN
    {_ENTRY}
    {_compiled(records.insert())};
END;
CREATE TEMP TRIGGER ledger_finishes INSTEAD OF INSERT ON ledger_works WHEN NEW.kind = 'FINISH' BEGIN
    SELECT RAISE(ABORT, '{_HAS_BUDGETS}') FROM budget_accounts;
    {_ENTRY}
    {_compiled(cast("Insert", STORED["sqlite"]))};
END;
"""  # noqa: S608 - of constants


class OneStatement:
    """A connection that writes the usual groups: records begin, and those that this process has begun end.

    A commit is on the disk when `write` returns, as by any connection to the ledger's database.
    """

    def __init__(self, database: sa.Engine) -> None:
        """Connects to a database that has its tables."""
        connection = database.raw_connection()
        self._connection = cast("sqlite3.Connection", connection.driver_connection)
        connection.detach()
        self._connection.executescript(_SCHEMA)
        self._has_budgets = False

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def write(self, works: Sequence[Work], run_id: str, now_ns: int, begun: Collection[str]) -> bool:
        """Writes a group and returns True, or returns False if it is not a usual one: nothing is written.

        `begun` is believed to be the ids of open records. Raises IntegrityError if the database refuses that,
        or if there are budgets, which only `group.write` adds up. Nothing is written then, either.
        """
        values: list[object] = []
        begins = set()
        for work in works:
            match work:
                case Begin(record):
                    begins.add(record.record_id)
                    kind = EntryKind.BEGIN
                case Finish(record) if not (record.lost or self._has_budgets) and (
                    record.record_id in begun or record.record_id in begins
                ):
                    kind = EntryKind.FINISH
                case _:
                    return False
            row = record_row(record, encoded(record), run_id)
            values += [*map(row.__getitem__, _COLUMNS[:-2]), kind.value, now_ns]
        text = f"INSERT INTO ledger_works VALUES {', '.join([_ROW] * len(works))}"  # noqa: S608 - of constants
        with as_sqlalchemy(text):
            try:
                self._connection.execute(text, values)
            except sqlite3.IntegrityError as error:
                self._has_budgets |= str(error) == _HAS_BUDGETS
                raise
        return True
