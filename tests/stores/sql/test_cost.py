"""What the ledger writes while generations run, by counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from sqlalchemy import event

from tests.support.harness import collect, serving
from tests.support.records import finished_record, usage_record
from tokengrpc.core.model import Usage
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import FILE, SqlLedger

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

TOKENS = 2000


async def test_no_transaction_per_token(tmp_path: Path) -> None:
    """A generation has its begin, its end and, every checkpoint interval, a share of one transaction."""
    engine = database.sqlite(tmp_path / FILE, 5.0)
    ledger = SqlLedger(engine, "here", lock=database.DirectoryLock(tmp_path))
    commits = 0
    last = ""

    def on_statement(statement: str) -> None:
        nonlocal commits, last
        # A group is a transaction, or one statement, which is told again for each of its triggers.
        commits += statement == "COMMIT" or (
            statement.startswith("INSERT INTO ledger_works") and statement != last
        )
        last = statement

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(on_statement)

    async with serving(ledger=ledger, limits={"checkpoint_interval": 0.25}) as server:
        before = commits
        outcome = await collect(server.stream("g", prompt="Tell a story.", max_output_token_count=TOKENS))
        assert outcome.code is grpc.StatusCode.OK
        tokens = sum(token.count for token in outcome.tokens)
        first, finished = outcome.messages[0], outcome.messages[-1]
    assert 0 < commits - before < tokens / 10
    assert first.WhichOneof("event") == "started"
    assert finished.HasField("finished")


async def test_a_checkpoint_writes_what_has_changed(tmp_path: Path) -> None:
    """All running generations together in one transaction; unchanged ones not at all."""
    engine = database.sqlite(tmp_path / FILE, 5.0)
    ledger = SqlLedger(engine, "here", lock=database.DirectoryLock(tmp_path))
    updated = [0]

    def on_statement(statement: str) -> None:
        if statement == "COMMIT":
            updated.append(0)
        updated[-1] += statement.startswith("UPDATE usage_records")

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(on_statement)

    await ledger.start()
    for n in range(20):
        await ledger.begin(usage_record(f"r{n}"))
    usages = {f"r{n}": Usage(input=1, output=1) for n in range(20)}
    await ledger.checkpoint(usages)
    await ledger.checkpoint(usages)
    await ledger.checkpoint(usages | {"r3": Usage(input=1, output=2)})
    await ledger.close()
    assert [count for count in updated if count] == [20, 1]


async def test_own_generations_are_not_read(tmp_path: Path) -> None:
    """What a process has begun is written without reading it. A repeated call is read, and ignored."""
    engine = database.sqlite(tmp_path / FILE, 5.0)
    ledger = SqlLedger(engine, "here", lock=database.DirectoryLock(tmp_path))
    reads = 0

    @event.listens_for(engine, "before_cursor_execute")
    def _on_execute(_c: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal reads
        reads += statement.startswith("SELECT") and "FROM usage_records" in statement

    await ledger.start()
    reads = 0
    for n in range(3):
        await ledger.begin(usage_record(f"r{n}"))
    for n in range(3):
        await ledger.finish(finished_record(f"r{n}"))
    assert reads == 0
    await ledger.begin(usage_record("r1"))
    await ledger.finish(finished_record("r1"))
    assert reads == 2
    entries = await ledger.entries(0, 100)
    await ledger.close()
    assert [(entry.kind.value, entry.record.record_id) for entry in entries] == [
        (kind, f"r{n}") for kind in ("BEGIN", "FINISH") for n in range(3)
    ]
