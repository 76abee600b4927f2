"""The statements of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from tokengrpc.stores.sql.prepared import DIALECTS, Statement, Value
from tokengrpc.stores.sql.schema import USAGE_COLUMNS, counter, entries, records
from tokengrpc.stores.sql.upserts import upserts

if TYPE_CHECKING:
    from collections.abc import Sequence

# SQLite writes each index anew that has a column among the changed ones, even if its value stays.
_CONSTANT = {"record_id", "run_id", "tenant", "generation_id", "model", "create_time_ns", "labels"}


def _everywhere(statement: sa.UpdateBase, columns: Sequence[str] | None = None) -> Statement:
    return Statement(dict.fromkeys(DIALECTS, statement), columns)


APPEND = _everywhere(entries.insert())
"""Adds entries."""

LAST_SEQUENCE = Value(sa.select(counter.c.last_sequence).with_for_update())
"""Waits for all other writers until this transaction ends, and returns the last sequence."""

COUNT = _everywhere(counter.update(), ["last_sequence"])
"""Stores the last sequence."""

CREATE = _everywhere(records.insert())
"""Adds records. Fails if there is one of this id."""

STORED = upserts(records, lambda new: {c.name: new[c.name] for c in records.c if c.name not in _CONSTANT})
"""By dialect, what adds a record, or changes the one that there is."""

STORE = Statement(STORED)
"""Adds records, or changes those that there are."""

_IS_OPEN = sa.and_(records.c.record_id == sa.bindparam("at"), records.c.state == sa.literal_column("'OPEN'"))

ADOPT = _everywhere(records.update().where(_IS_OPEN), ["run_id"])
"""Makes open records those of another process. `at` is the record's id."""

CHECKPOINT = _everywhere(
    records.update().where(_IS_OPEN),
    [*USAGE_COLUMNS, "source"],
)
"""Changes the usage of records that are open. `at` is the record's id."""
