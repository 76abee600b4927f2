"""Which processes write to the ledger, and the records of those that have died."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.stores.sql.schema import records, servers
from tokengrpc.stores.sql.upserts import upserts

if TYPE_CHECKING:
    from collections.abc import Collection

# The time by the clock that all processes share: PostgreSQL's, or that of the only one.
_CLOCK = sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()) * 1_000_000_000, sa.BigInteger)


_UPSERTS = upserts(servers, lambda new: {"seen_ns": new.seen_ns})
_SEEN = {**_UPSERTS, "postgresql": _UPSERTS["postgresql"].values(seen_ns=_CLOCK)}

_GROUP = 500
"""Most records that are closed in one transaction."""


class LostRecord(NamedTuple):
    """Open record of a dead process: its generation, and when the process was last seen."""

    key: GenerationKey
    seen_ns: int


def seen(connection: sa.Connection, run_id: str, name: str) -> None:
    """Notes that a process lives. `run_id` is new at each start of a server, `name` is the server's."""
    values: dict[str, object] = {"run_id": run_id, "name": name}
    if connection.dialect.name == "sqlite":
        values["seen_ns"] = time.time_ns()
    connection.execute(_SEEN[connection.dialect.name], values)


def lost_records(
    connection: sa.Connection, run_id: str, lease: float | None, spared: Collection[str] = ()
) -> dict[str, LostRecord]:
    """Returns some open records of dead processes by id, without those that are spared.

    All other processes are dead if `lease` is None, otherwise those that were not seen for so many seconds.
    Processes that are dead and have no open record are forgotten.
    """
    dead = servers.c.run_id != run_id
    if lease is not None:
        dead &= servers.c.seen_ns < now_ns(connection) - round(lease * 1e9)
    is_open = records.c.state == RecordState.OPEN.value
    rows = connection.execute(
        sa.select(records.c.record_id, records.c.tenant, records.c.generation_id, servers.c.seen_ns)
        .join(servers, servers.c.run_id == records.c.run_id)
        .where(is_open, dead, records.c.record_id.not_in(spared))
        .limit(_GROUP)
    ).all()
    if not rows:
        still_open = sa.exists().where(is_open, records.c.run_id == servers.c.run_id)
        connection.execute(servers.delete().where(dead, ~still_open))
    return {
        row.record_id: LostRecord(GenerationKey(row.tenant, row.generation_id), row.seen_ns) for row in rows
    }


def now_ns(connection: sa.Connection) -> sa.ColumnElement[int]:
    """Returns the time by the clock that all processes share."""
    if connection.dialect.name == "postgresql":
        return _CLOCK
    return sa.literal(time.time_ns(), sa.BigInteger)
