"""Groups that SQLite takes by one statement: they write what the statements for all databases write."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tests.support.records import finished_record, usage_record
from tokengrpc.core.model import Cost, Usage, UsageReport
from tokengrpc.stores.sql import budgets, database, group, schema
from tokengrpc.stores.sql.ledger import FILE, SqlLedger
from tokengrpc.stores.sql.one_statement import OneStatement
from tokengrpc.stores.sql.works import Begin, Checkpoint, Finish, Settle

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from tokengrpc.stores.sql.works import Work

_PRICED = finished_record(
    "r2",
    tenant="nul\0 quote' \ud800",
    labels={"tea'm": 'a "b"\0'},
    cost=Cost(amount_micros=12, currency="EUR", price_version="v"),
    usage=Usage(input=3, output=5, cached_input=1, reasoning=2),
)
_GROUPS: Sequence[Sequence[Work]] = (
    [Begin(usage_record("r1")), Begin(usage_record("r2"))],
    [
        Finish(finished_record("r1")),
        Begin(usage_record("r3")),
        Finish(finished_record("r3")),
        Finish(_PRICED),
    ],
)


def _database(path: Path) -> sa.Engine:
    engine = database.sqlite(path, 5.0)
    schema.migrate(engine)
    return engine


def _rows(engine: sa.Engine) -> list[list[tuple[object, ...]]]:
    tables = (schema.entries, schema.records, schema.counter)
    with engine.begin() as connection:
        return [[tuple(row) for row in connection.execute(table.select())] for table in tables]


def test_the_rows_are_the_same(tmp_path: Path) -> None:
    """Byte by byte, also after another process has added entries."""
    one, many = _database(tmp_path / "one"), _database(tmp_path / "many")
    writer = OneStatement(one)
    for engine in (one, many):
        with engine.begin() as connection:
            group.write(connection, [Begin(usage_record("other"))], "another", 6)
    for works in _GROUPS:
        assert writer.write(works, "run", 7, {"r1", "r2"})
        with many.begin() as connection:
            group.write(connection, works, "run", 7, begun={"r1", "r2"})
    assert _rows(one) == _rows(many)
    assert [row[0] for row in _rows(one)[0]] == [1, 2, 3, 4, 5, 6, 7]
    writer.close()


@pytest.mark.parametrize(
    "work",
    [
        Finish(finished_record("unknown")),
        Finish(finished_record("r1", lost=True)),
        Checkpoint({"r1": Usage(input=1)}),
        Settle("r1", UsageReport(input=1)),
    ],
    ids=lambda work: type(work).__name__,
)
def test_other_groups_are_left_alone(tmp_path: Path, work: Work) -> None:
    """Whole: nothing of them is written."""
    engine = _database(tmp_path / "one")
    writer = OneStatement(engine)
    assert not writer.write([Begin(usage_record("r2")), work], "run", 7, {"r1"})
    assert _rows(engine)[:2] == [[], []]
    writer.close()


@pytest.mark.parametrize(
    "works", [[Begin(usage_record("r1"))], [Begin(usage_record("r2")), Finish(finished_record("r1"))]]
)
def test_what_was_done_is_refused(tmp_path: Path, works: Sequence[Work]) -> None:
    """With all of its group, so that no sequence is lost."""
    engine = _database(tmp_path / "one")
    writer = OneStatement(engine)
    assert writer.write([Begin(usage_record("r1")), Finish(finished_record("r1"))], "run", 7, ())
    before = _rows(engine)
    with pytest.raises(IntegrityError):
        writer.write(works, "run", 8, {"r1"})
    assert _rows(engine) == before
    writer.close()


def test_ends_that_budgets_count_are_left_alone(tmp_path: Path) -> None:
    """From the first one on; beginnings are not."""
    engine = _database(tmp_path / "one")
    writer = OneStatement(engine)
    assert writer.write([Begin(usage_record("r1"))], "run", 7, ())
    text = dict.fromkeys(
        ("account_id", "tenant", "period", "currency", "model", "label_key", "label_value"), ""
    )
    with engine.begin() as connection:
        connection.execute(budgets.accounts.insert(), text | {"start_ns": 0, "used": 0})
    with pytest.raises(IntegrityError):
        writer.write([Finish(finished_record("r1"))], "run", 8, {"r1"})
    assert not writer.write([Finish(finished_record("r1"))], "run", 8, {"r1"})
    assert writer.write([Begin(usage_record("r2"))], "run", 8, {"r1"})
    writer.close()


async def test_a_group_is_one_statement(tmp_path: Path) -> None:
    """Each call of the driver waits for Python's lock. Most groups of a ledger need one."""
    engine = database.sqlite(tmp_path / FILE, 5.0)
    statements: list[str] = []

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(statements.append)

    ledger = SqlLedger(engine, "here", lock=database.DirectoryLock(tmp_path))
    await ledger.start()
    statements.clear()
    for n in range(20):
        await ledger.begin(usage_record(f"r{n}"))
        await ledger.finish(finished_record(f"r{n}"))
    made = Counter(text.partition(" VALUES")[0] for text in dict.fromkeys(statements))
    await ledger.close()
    # Once a second, the server is noted as alive, by more statements.
    assert made["INSERT INTO ledger_works"] > 20
    assert statements.count("COMMIT") < 20
