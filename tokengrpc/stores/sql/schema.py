"""The tables of the ledger, and the numbered steps that create and change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.sql import budgets, tenant_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

metadata = sa.MetaData()

steps = sa.Table("schema_steps", metadata, sa.Column("step", sa.Integer, primary_key=True))

counter = sa.Table(
    "ledger_counter",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
)

servers = sa.Table(
    "ledger_servers",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("seen_ns", sa.BigInteger, nullable=False),
)
"""Processes that write to the ledger, each start under an id of its own."""

USAGE_COLUMNS = ("input", "output", "cached_input", "cache_write_input", "reasoning", "overhead")

records = sa.Table(
    "usage_records",
    metadata,
    sa.Column("record_id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("generation_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("create_time_ns", sa.BigInteger, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in USAGE_COLUMNS),
    sa.Column("source", sa.SmallInteger, nullable=False),
    sa.Column("cost_micros", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("price_version", sa.Text, nullable=False),
    sa.Column("labels", sa.JSON().with_variant(JSONB, "postgresql"), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("usage_records_by_time", "create_time_ns", "record_id"),
    sa.Index("usage_records_by_tenant", "tenant", "create_time_ns", "record_id"),
    sa.Index("usage_records_by_generation", "tenant", "generation_id"),
    sa.Index(
        "usage_records_open",
        "run_id",
        sqlite_where=sa.text("state = 'OPEN'"),
        postgresql_where=sa.text("state = 'OPEN'"),
    ),
)
"""One row a generation: the projection of its entries. `body` is the UsageRecord as JSON.

The other columns are those that queries read; `currency` is empty without a cost. The usage columns are newer
than the body's usage while the record is open: checkpoints update them alone.
"""

pruned_sums = sa.Table(
    "usage_pruned_sums",
    metadata,
    sa.Column("hour_ns", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("currency", sa.Text, primary_key=True),
    sa.Column("price_version", sa.Text, primary_key=True),
    sa.Column("source", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("lost", sa.BigInteger, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in USAGE_COLUMNS),
    sa.Column("cost_micros", sa.BigInteger, nullable=False),
)
"""What summaries need of records that were pruned: sums for each hour, by `create_time_ns`."""

CLOSES = sa.text("kind IN ('FINISH', 'LOST')")
BEGINS = sa.text("kind = 'BEGIN'")
CHANGES = sa.text("kind IN ('SETTLE', 'ADJUST')")

entries = sa.Table(
    "ledger_entries",
    metadata,
    # In SQLite, the table's own key, which is an INTEGER of 64 bits: otherwise it would have an index more.
    sa.Column(
        "sequence",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("record_id", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("ledger_entries_by_tenant", "tenant", "sequence"),
    sa.Index(
        "ledger_entries_close_once",
        "record_id",
        unique=True,
        sqlite_where=CLOSES,
        postgresql_where=CLOSES,
    ),
    sa.Index(
        "ledger_entries_begin_once",
        "record_id",
        unique=True,
        sqlite_where=BEGINS,
        postgresql_where=BEGINS,
    ),
    sa.Index(
        "ledger_entries_changes",
        "record_id",
        sqlite_where=CHANGES,
        postgresql_where=CHANGES,
    ),
)
"""Append-only. `body` is the LedgerEntry as JSON. That a record is closed twice, the database itself
refuses."""

_LOCK_KEY = 0x746F6B656E67  # any number that no other program uses


def _create_all(connection: sa.Connection) -> None:
    for table in (counter, servers, records, pruned_sums, entries):
        table.create(connection)
    connection.execute(counter.insert().values(id=1, last_sequence=0))


STEPS: Sequence[Callable[[sa.Connection], None]] = (_create_all, tenant_tables.create, budgets.create)
"""What each step does, from step 1 on. A released step never changes; a change of the schema is a new
step."""


def migrate(database: sa.Engine, steps_known: Sequence[Callable[[sa.Connection], None]] = STEPS) -> None:
    """Takes the steps that a database lacks. Each is one transaction, so an interrupted one has not happened.

    Raises StoreUnavailable if the database has steps that this version does not know.
    """
    while True:
        with database.begin() as connection:
            if connection.dialect.name == "postgresql":
                # A step takes as long as it needs; another server that takes it is waited for.
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
            steps.create(connection, checkfirst=True)
            done = connection.scalar(sa.select(sa.func.max(steps.c.step))) or 0
            if done > len(steps_known):
                raise StoreUnavailable(
                    f"the ledger's database has schema step {done}, and this version knows "
                    f"{len(steps_known)}: use the version of tokengrpc that wrote it, or a newer one"
                )
            if done == len(steps_known):
                return
            steps_known[done](connection)
            connection.execute(steps.insert().values(step=done + 1))
