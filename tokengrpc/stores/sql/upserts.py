"""Statements that insert a row or change it, which SQLAlchemy has for each dialect apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import sqlalchemy as sa

Upsert = sqlite.Insert | postgresql.Insert


def upserts(table: sa.Table, changes: Callable[[Any], Mapping[str, Any]]) -> Mapping[str, Upsert]:
    """Returns, by the dialect's name, what inserts a row or changes the one that has its primary key.

    `changes` takes the columns of the row that was to be inserted, and returns the new values.
    """

    def completed(statement: Upsert) -> Upsert:
        key = list(table.primary_key)
        return statement.on_conflict_do_update(index_elements=key, set_=changes(statement.excluded))

    return {
        "sqlite": completed(sqlite.insert(table)),
        "postgresql": completed(postgresql.insert(table)),
    }
