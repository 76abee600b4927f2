"""Servers that are killed, or stopped for longer than their lease, and what their ledgers have afterwards."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import collect, read_until
from tests.support.killed_server import KilledServer
from tests.support.ledger_outages import check_books
from tests.support.ledgers import sqlite_ledger
from tests.support.postgres import postgres
from tests.support.records import usage_record
from tokengrpc.client.stubs import aio_stub
from tokengrpc.core.model import UsageSource
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import EntryKind, RecordQuery
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from tests.support.ledgers import ReadableLedger
    from tokengrpc.core.ports.ledger import UsageRecord

MODEL = """
[[models]]
name = "m"
pace = 50.0
"""
LIMITS = """
[limits]
checkpoint_interval = 0.05
store_timeout = 1.0
min_generations = 1000
"""
SQLITE = f'ledger = "sqlite"\nlog_level = "error"\n{LIMITS}{MODEL}'


def shared(url: str, lease: float) -> str:
    plugin = f"[plugins.postgresql]\nlease = {lease}\n"
    return f'ledger = "{url}"\nledger_outage = "degrade"\nlog_level = "error"\n{LIMITS}{plugin}{MODEL}'


@asynccontextmanager
async def streaming(server: KilledServer, generation_id: str, tokens: int) -> AsyncIterator[Any]:
    """Starts a generation, and returns its call after some tokens."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        request = pb.StreamTokensRequest(
            generation_id=generation_id, prompt="What is token streaming?", max_output_token_count=tokens
        )
        call = aio_stub(channel).StreamTokens(request)
        await read_until(call, lambda message: message.usage.output_token_count >= 3)
        yield call


async def started(server: KilledServer) -> KilledServer:
    await server.spawn()
    await server.serve()
    return server


async def until_record(ledger: ReadableLedger, condition: Any) -> UsageRecord:
    """Waits until the newest record satisfies a condition, and returns it."""
    async with asyncio.timeout(60):
        while True:
            try:
                records = await ledger.list_records(RecordQuery(), None, 1)
            except StoreUnavailable:
                records = []
            if records and condition(records[0]):
                return records[0]
            await asyncio.sleep(0.02)


async def test_a_killed_server_has_its_last_checkpoint(tmp_path: Path) -> None:
    """The record is LOST, with the usage of the last checkpoint as an estimate. It stays so."""
    server = await started(KilledServer(tmp_path, SQLITE))
    beside = SqlLedger(database.sqlite(tmp_path / "ledger.sqlite3", 5.0, read_only=True), "")
    async with streaming(server, "killed", 500):
        seen = await until_record(beside, lambda record: record.usage.output >= 3)
        await server.end(signal.SIGKILL)
    await beside.close()
    for _ in range(2):
        await started(server)
        assert await server.end(signal.SIGTERM) == 0
    ledger = sqlite_ledger(tmp_path)
    await ledger.start()
    (record,) = (await check_books(ledger)).values()
    kinds = [entry.kind for entry in await ledger.entries(0, 10)]
    await ledger.close()
    assert kinds == [EntryKind.BEGIN, EntryKind.LOST]
    assert record.state is RecordState.LOST
    assert record.usage.source is UsageSource.ESTIMATED
    assert record.usage.output >= seen.usage.output >= 3
    assert record.end_time_ns is not None
    assert record.end_time_ns >= record.create_time_ns


async def test_a_server_that_is_killed_while_it_recovers(tmp_path: Path) -> None:
    """However often: each of 3,000 open records is closed once."""
    live, directory = tmp_path / "live", tmp_path / "data"
    ledger = sqlite_ledger(live)
    await ledger.start()
    await asyncio.gather(*(ledger.begin(usage_record(f"r{n}", generation_id=f"g{n}")) for n in range(3000)))
    shutil.copytree(live, directory)  # as a crash leaves it
    await ledger.close()
    server, chance = KilledServer(directory, SQLITE), random.Random(1)
    lost = []
    for _ in range(4):
        await server.spawn()
        serving = asyncio.create_task(server.serve())
        await until_some_are_lost(directory, chance.randrange(3000))
        await server.end(signal.SIGKILL)
        serving.cancel()
        await asyncio.wait({serving})
        after = sqlite_ledger(directory)
        # A second process may look, because the first is dead; it closes nothing itself.
        lost.append(len([r for r in await after.list_records(RecordQuery(), None, 5000) if r.lost]))
        await after.close()
    await started(server)
    assert await server.end(signal.SIGTERM) == 0
    after = sqlite_ledger(directory)
    await after.start()
    records = await check_books(after)
    entries = await after.entries(0, 10_000)
    await after.close()
    assert lost == sorted(lost)
    assert len(records) == 3000
    assert {record.state for record in records.values()} == {RecordState.LOST}
    assert [entry.kind for entry in entries].count(EntryKind.LOST) == 3000


async def until_some_are_lost(directory: Path, count: int) -> None:
    """Waits until recovery has closed about so many records, or has ended."""
    beside = SqlLedger(database.sqlite(directory / "ledger.sqlite3", 5.0, read_only=True), "")
    async with asyncio.timeout(60):
        while True:
            if not count or await beside.entries(3000 + count - 1, 1):
                break
            await asyncio.sleep(0.001)
    await beside.close()


async def test_a_server_that_was_stopped_longer_than_its_lease(request, tmp_path: Path) -> None:
    """Others close its records as LOST. When it goes on, its generation ends with an ADJUST."""
    with request.getfixturevalue("postgres_server").database("lease") as url:
        stopped = await started(KilledServer(tmp_path / "a", shared(url, 1)))
        other = await started(KilledServer(tmp_path / "b", shared(url, 1)))
        ledger = SqlLedger(database.postgresql(url, 5.0), "test")
        async with streaming(stopped, "stopped", 60) as call:
            stopped.signal(signal.SIGSTOP)
            lost = await until_record(ledger, lambda record: record.state is RecordState.LOST)
            stopped.signal(signal.SIGCONT)
            outcome = await collect(call)
            assert outcome.code is grpc.StatusCode.OK
        # Its calls of the ledger have timed out meanwhile, so the end may be in the spill first.
        await until_record(ledger, lambda record: record.state is RecordState.CLOSED)
        (record,) = (await check_books(ledger)).values()
        entries = await ledger.entries(0, 10)
        for server in (stopped, other):
            assert await server.end(signal.SIGTERM) == 0
        await ledger.close()
    assert [entry.kind for entry in entries] == [EntryKind.BEGIN, EntryKind.LOST, EntryKind.ADJUST]
    assert record.state is RecordState.CLOSED
    assert record.usage.output == outcome.messages[-1].usage.output_token_count > lost.usage.output
    assert entries[-1].previous_usage == lost.usage


async def test_the_spill_of_a_dead_server_corrects_its_record(tmp_path: Path) -> None:
    """Its finish was in the spill when it died. Another server closed the record as LOST meanwhile."""
    with postgres() as primary, primary.database("spill") as url:
        dead = await started(KilledServer(tmp_path / "a", shared(url, 1)))
        ledger = SqlLedger(database.postgresql(url, 5.0), "test")
        async with streaming(dead, "spilled", 30) as call:
            await asyncio.to_thread(primary.stop)
            outcome = await collect(call)
            assert outcome.code is grpc.StatusCode.OK
        await dead.end(signal.SIGKILL)
        assert (tmp_path / "a" / "unwritten-usage.jsonl").stat().st_size
        await asyncio.to_thread(primary.start)
        other = await started(KilledServer(tmp_path / "b", shared(url, 1)))
        await until_record(ledger, lambda record: record.state is RecordState.LOST)
        await started(dead)
        await until_record(ledger, lambda record: record.state is RecordState.CLOSED)
        (record,) = (await check_books(ledger)).values()
        entries = await ledger.entries(0, 10)
        for server in (dead, other):
            assert await server.end(signal.SIGTERM) == 0
        await ledger.close()
    assert [entry.kind for entry in entries] == [EntryKind.BEGIN, EntryKind.LOST, EntryKind.ADJUST]
    assert record.usage.output == outcome.messages[-1].usage.output_token_count


async def test_a_generation_of_an_outage_is_recorded_after_a_kill(tmp_path: Path) -> None:
    """It began while the database was away, and its server died before its end: it is in the spill."""
    with postgres() as primary, primary.database("begun") as url:
        server = await started(KilledServer(tmp_path, shared(url, 1)))
        await asyncio.to_thread(primary.stop)
        async with streaming(server, "begun", 500):
            await server.end(signal.SIGKILL)
        await asyncio.to_thread(primary.start)
        await started(server)
        ledger = SqlLedger(database.postgresql(url, 5.0), "test")
        record = await until_record(ledger, lambda record: record.generation_id == "begun")
        await check_books(ledger)
        assert await server.end(signal.SIGTERM) == 0
        await ledger.close()
    assert record.state is RecordState.LOST
    assert record.usage.source is UsageSource.ESTIMATED


async def test_a_server_that_dies_before_its_database_comes_up(tmp_path: Path) -> None:
    """Its records and those of its successor, which starts without the database too, are all written."""
    with postgres() as primary, primary.database("late") as url:
        await asyncio.to_thread(primary.stop)
        server = await started(KilledServer(tmp_path, shared(url, 1)))
        async with streaming(server, "ended", 20) as call:
            assert (await collect(call)).code is grpc.StatusCode.OK
        async with streaming(server, "killed", 500):
            await server.end(signal.SIGKILL)
        await started(server)
        async with streaming(server, "later", 20) as call:
            assert (await collect(call)).code is grpc.StatusCode.OK
        await asyncio.to_thread(primary.start)
        ledger = SqlLedger(database.postgresql(url, 5.0), "test")
        await until_record(
            ledger, lambda last: (last.generation_id, last.state) == ("later", RecordState.CLOSED)
        )
        records = await check_books(ledger)
        assert await server.end(signal.SIGTERM) == 0
        await ledger.close()
    closed, lost = RecordState.CLOSED, RecordState.LOST
    states = {name: record.state for name, record in records.items()}
    assert states == {"ended": closed, "killed": lost, "later": closed}


@pytest.mark.parametrize("ledger", ["sqlite", "memory"])
async def test_two_servers_with_one_data_directory(tmp_path: Path, ledger: str) -> None:
    """The second one is refused in one line, also if only the spill is there."""
    settings = f'ledger = "{ledger}"\nlog_level = "error"\n{MODEL}'
    first = await started(KilledServer(tmp_path, settings))
    second = KilledServer(tmp_path, settings)
    await second.spawn()
    with pytest.raises(RuntimeError, match=r"another server uses .*: give each server a data_dir of its own"):
        await second.serve()
    assert await first.end(signal.SIGTERM) == 0
