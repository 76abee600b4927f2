"""What callers receive, and what is recorded, when a ledger's database goes away and comes back."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from tests.support.harness import Served, collect, read_until, serving, until, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text, UsageChunk
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import EntryKind, RecordQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.ledgers import ReadableLedger
    from tokengrpc.core.ports.ledger import UsageRecord

STORE_TIMEOUT = 1.0


@dataclass
class Outage:
    """A server with the generation `running`, whose engine waits at `pause`."""

    engine: ScriptedEngine
    ledger: ReadableLedger
    server: Served
    strict: bool
    running: Any
    pause: Pause

    async def check_served(self) -> None:
        """Checks what callers receive without the database: no answer fails, and `strict` starts none."""
        self._script()
        new = await collect(self.server.stream("new"))
        if self.strict:
            assert new.code is grpc.StatusCode.UNAVAILABLE
            assert new.info is not None
            assert new.info.reason == "STORE_UNAVAILABLE"
        else:
            assert (new.code, new.text) == (grpc.StatusCode.OK, "first second")
        self.pause.release()
        outcome = await collect(self.running)
        assert outcome.code is grpc.StatusCode.OK
        assert outcome.finished is not None
        assert "second" in outcome.text

    async def check_recovered(self) -> None:
        """Checks that all is recorded, once, when the database is back, and that new generations start."""
        billing = self.server.server.billing
        await until(lambda: billing.available and not billing.waiting, "all is written")
        self._script()
        later = await collect(self.server.stream("later"))
        assert (later.code, later.text) == (grpc.StatusCode.OK, "first second")
        records = await check_books(self.ledger)
        served = {"running", "later"} | (set() if self.strict else {"new"})
        assert served <= records.keys() <= {"running", "later", "new"}
        for name in served:
            assert (records[name].usage.input, records[name].usage.output) == (7, 2)
            assert records[name].state is RecordState.CLOSED
        if self.strict and "new" in records:
            assert records["new"].error_reason == "STORE_UNAVAILABLE"
            assert records["new"].usage.output == 0

    def _script(self) -> None:
        self.engine.script(Text("first "), Text("second"), Finish(), UsageChunk(7, 2), Done())


@asynccontextmanager
async def outage(ledger: ReadableLedger, directory: Path, *, strict: bool) -> AsyncIterator[Outage]:
    """Starts a server with a ledger, whose spill is in `directory`, and a generation on it."""
    pause = Pause()
    async with (
        ScriptedEngine() as engine,
        serving(
            upstream(engine.base_url),
            ledger=ledger,
            ledger_outage="strict" if strict else "degrade",
            data_dir=str(directory),
            limits={"store_timeout": STORE_TIMEOUT},
        ) as server,
    ):
        engine.script(Text("first "), pause, Text("second"), Finish(), UsageChunk(7, 2), Done())
        running = server.stream("running")
        await read_until(running, lambda message: message.tokens)
        yield Outage(engine, ledger, server, strict, running, pause)


async def check_books(ledger: ReadableLedger) -> dict[str, UsageRecord]:
    """Checks that entries have no gap and make the records. Returns the records by generation id."""
    entries = await ledger.entries(0, 10_000)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    made = {entry.record.record_id: entry.record for entry in entries}
    stored = await ledger.list_records(RecordQuery(), None, 10_000)
    assert {record.record_id: record for record in stored if record.state is not RecordState.OPEN} == {
        id_: record for id_, record in made.items() if record.state is not RecordState.OPEN
    }
    closing = [e.record.record_id for e in entries if e.kind in {EntryKind.FINISH, EntryKind.LOST}]
    assert len(closing) == len(set(closing))
    by_generation = {record.generation_id: record for record in stored}
    assert len(by_generation) == len(stored)
    return by_generation
