"""Statements as text: to compile them each time would take longer than to run them."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.dialects.postgresql import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")

DIALECTS = {
    "sqlite": sqlite_dialect.dialect(paramstyle="qmark"),
    "postgresql": psycopg.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]  # of SQLAlchemy
}


class Statement:
    """A statement of each dialect with its parameters' names in order."""

    def __init__(self, by_dialect: Mapping[str, sa.UpdateBase], columns: Sequence[str] | None = None) -> None:
        """Takes the statement by the dialect's name. An UPDATE sets `columns`."""
        compiled = {
            name: statement.compile(dialect=DIALECTS[name], column_keys=columns)
            for name, statement in by_dialect.items()
        }
        self._texts = {name: str(each) for name, each in compiled.items()}
        self._names = {name: tuple(each.positiontup or ()) for name, each in compiled.items()}

    def run(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Runs the statement with each of the rows, all in one call of the driver."""
        dialect = connection.dialect.name
        names = self._names[dialect]
        values = [tuple([row[name] for name in names]) for row in rows]
        if not values:
            return
        if dialect != "sqlite":
            connection.exec_driver_sql(self._texts[dialect], values)
            return
        with as_sqlalchemy(self._texts[dialect]):
            _raw(connection).executemany(self._texts[dialect], values)


class Value(Generic[T]):
    """A statement that reads one value of one row."""

    def __init__(self, statement: sa.Select[tuple[T]]) -> None:
        self._texts = {
            name: str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
            for name, dialect in DIALECTS.items()
        }

    def of(self, connection: sa.Connection) -> T | None:
        """Returns the value; None if there is no row."""
        text = self._texts[connection.dialect.name]
        if connection.dialect.name != "sqlite":
            return cast("T | None", connection.exec_driver_sql(text).scalar())
        with as_sqlalchemy(text):
            row = _raw(connection).execute(text).fetchone()
        return None if row is None else row[0]


def _raw(connection: sa.Connection) -> sqlite3.Connection:
    """Returns the driver's own connection: SQLAlchemy's calls take ten times as long as SQLite's own."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


@contextmanager
def as_sqlalchemy(text: str) -> Iterator[None]:
    """Raises the driver's errors as SQLAlchemy does."""
    try:
        yield
    except sqlite3.Error as error:
        kind = getattr(exc, type(error).__name__, exc.DatabaseError)
        raise kind(text, None, error, hide_parameters=True) from error
