"""Servers with budgets that are killed: what is used is what their ledgers' records say, and leases end."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import collect, read_until
from tests.support.killed_server import KilledServer
from tests.support.ledger_outages import check_books
from tests.support.ledgers import sqlite_ledger
from tokengrpc.client.stubs import aio_stub
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import RecordQuery
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Outcome
    from tests.support.ledgers import ReadableLedger

COMMON = """
log_level = "error"
[limits]
checkpoint_interval = 0.05
min_generations = 1000
[[models]]
name = "m"
pace = 200.0
"""


def tenant(directory: Path, tokens: int) -> str:
    (directory / "key").write_text("secret")
    return (
        f'[[tenants]]\nname = "a"\nkey_file = "{directory / "key"}"\n'
        f'[[tenants.budgets]]\ntokens = {tokens}\nperiod = "day"\n'
        f'[[tenants.budgets]]\ntokens = {tokens}\nperiod = "month"\nlabel_key = "team"\n'
    )


async def call(server: KilledServer, tokens: int, *, killed: bool = False) -> Outcome:
    """Runs a generation, to its end or to the death of its server, which comes after some tokens."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        request = pb.StreamTokensRequest(prompt="hello", max_output_token_count=tokens, labels={"team": "x"})
        stream = aio_stub(channel).StreamTokens(request, metadata=(("authorization", "Bearer secret"),))
        if killed:
            await read_until(stream, lambda message: message.usage.output_token_count >= 20)
            await server.end(signal.SIGKILL)
        return await collect(stream)


async def until_lost(ledger: ReadableLedger) -> None:
    """Waits until a record was closed as LOST."""
    async with asyncio.timeout(60):
        while True:
            records = await ledger.list_records(RecordQuery(), None, 10)
            if any(record.state is RecordState.LOST for record in records):
                return
            await asyncio.sleep(0.05)


async def check(ledger: ReadableLedger, lost: int) -> int:
    """Checks that both budgets have used what the records did, of which some are lost. Returns that."""
    records = (await check_books(ledger)).values()
    assert sum(record.state is RecordState.LOST for record in records) == lost
    total = sum(record.usage.input + record.usage.output for record in records)
    assert {use.used for use in await ledger.budget_use("a", 0)} == {total}
    return total


async def test_a_killed_server_has_used_what_it_recorded(tmp_path: Path) -> None:
    """Recovery counts its lost generations, once. What it had leased is free for its successor."""
    server = KilledServer(tmp_path, f'ledger = "sqlite"\n{COMMON}{tenant(tmp_path, 400)}')
    for lost in range(3):
        await server.spawn()
        await server.serve()
        assert (await call(server, 30)).finished, lost
        await call(server, 500, killed=True)
    await server.spawn()
    await server.serve()
    refused = 0
    while refused < 2:
        outcome = await call(server, 100)
        if not outcome.messages:
            assert outcome.info.reason == "BUDGET_EXHAUSTED", outcome.message
            refused += 1
    assert await server.end(signal.SIGTERM) == 0
    ledger = sqlite_ledger(tmp_path)
    await ledger.start()
    total = await check(ledger, lost=3)
    assert 400 - 10 <= total <= 400 + 10
    assert sum(use.leased for use in await ledger.budget_use("a", 0)) == 0
    await ledger.close()


async def test_the_slice_of_a_dead_replica_ends_with_its_lease(tmp_path: Path, postgres_server) -> None:
    """The others close its records, and use what it had leased."""
    with postgres_server.database("budgets") as url:
        plugin = COMMON + "[plugins.postgresql]\nlease = 1\n" + tenant(tmp_path, 2_000)
        servers = []
        for name in ("dead", "alive"):
            servers.append(KilledServer(tmp_path / name, f'ledger = "{url}"\n{plugin}'))
            await servers[-1].spawn()
            await servers[-1].serve()
        dead, alive = servers
        assert (await call(alive, 30)).finished
        await call(dead, 500, killed=True)
        ledger = SqlLedger(database.postgresql(url, 5.0), "test")
        await until_lost(ledger)
        await check(ledger, lost=1)
        assert await alive.end(signal.SIGTERM) == 0
        await check(ledger, lost=1)
        await ledger.close()
