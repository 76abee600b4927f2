"""Labels of records in queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tokengrpc.stores.sql.schema import records
from tokengrpc.stores.sql.stored_text import storable

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect


def label_of(dialect: Dialect, key: str) -> sa.ColumnElement[Any]:
    """Returns the value of a record's label, NULL without it."""
    if dialect.name == "postgresql":
        value: sa.ColumnElement[Any] = records.c.labels[storable(key)].as_string()
        return value
    # SQLite's paths have no escape for a quote in a key.
    each = sa.func.json_each(records.c.labels).table_valued("key", "value")
    return sa.select(each.c.value).where(each.c.key == storable(key)).scalar_subquery()
