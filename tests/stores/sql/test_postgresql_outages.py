"""PostgreSQL servers that stop, crash, fail over, or are reached through a pooler."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.ledger_outages import STORE_TIMEOUT, outage
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres import Postgres, postgres
from tests.support.records import finished_record, usage_record
from tests.support.tcp_proxy import TcpProxy
from tokengrpc.core.ports.ledger import LedgerUnusable
from tokengrpc.core.ports.usage_reader import RecordQuery
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger
from tokengrpc.stores.sql.schema import counter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.ledgers import ReadableLedger

STRICT = pytest.mark.parametrize("strict", [True, False], ids=["strict", "degrade"])


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    """A server of this module, which its tests stop."""
    with postgres() as server:
        yield server


def ledger_at(url: str) -> SqlLedger:
    return SqlLedger(database.postgresql(url, STORE_TIMEOUT), "here")


@STRICT
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
async def test_a_server_that_is_started_again(
    primary: Postgres, tmp_path: Path, how: signal.Signals, *, strict: bool
) -> None:
    """Whether it was stopped or crashed: no answer fails, and what was owed is written."""
    with primary.database("again") as url:
        async with outage(ledger_at(url), tmp_path, strict=strict) as run:
            await asyncio.to_thread(primary.stop, how)
            await run.check_served()
            await asyncio.to_thread(primary.start)
            await run.check_recovered()


async def test_a_database_that_comes_up_after_its_server(primary: Postgres, tmp_path: Path) -> None:
    """Without strict, the server starts, serves and spills, and uses the database when it is there."""
    with primary.database("later") as url:
        await asyncio.to_thread(primary.stop)
        async with outage(ledger_at(url), tmp_path, strict=False) as run:
            await run.check_served()
            await asyncio.to_thread(primary.start)
            await run.check_recovered()


async def test_a_strict_server_starts_with_its_database_only(primary: Postgres, tmp_path: Path) -> None:
    """It says what to look at."""
    with primary.database("needed") as url:
        await asyncio.to_thread(primary.stop)
        with pytest.raises(StoreUnavailable, match="; check the settings `ledger`"):
            async with outage(ledger_at(url), tmp_path, strict=True):
                pass
        await asyncio.to_thread(primary.start)


@STRICT
async def test_a_database_that_refuses_its_server(primary: Postgres, tmp_path: Path, *, strict: bool) -> None:
    """No time mends that, so the server does not start."""
    with primary.database("refusing") as url, psycopg.connect(url) as owner:
        owner.execute("REVOKE CREATE ON SCHEMA public FROM public")
        owner.execute("CREATE ROLE reader LOGIN")
        owner.commit()
        with pytest.raises(LedgerUnusable, match="permission denied"):
            async with outage(ledger_at(url.replace("tokengrpc@", "reader@")), tmp_path, strict=strict):
                pass
        owner.execute("DROP ROLE reader")


@STRICT
async def test_a_pooler_in_transaction_mode(primary: Postgres, tmp_path: Path, *, strict: bool) -> None:
    """Through PgBouncer everything works as without it, also while the server restarts behind it."""
    with primary.database("pooled") as url, pgbouncer(url) as pooled:
        async with outage(ledger_at(pooled), tmp_path, strict=strict) as run:
            await asyncio.to_thread(primary.stop)
            await run.check_served()
            await asyncio.to_thread(primary.start)
            await run.check_recovered()


async def test_a_failover_to_a_standby(primary: Postgres, tmp_path: Path) -> None:
    """First the address leads to a standby, which takes no writes; then it is promoted."""
    with primary.database("failover") as url, postgres(primary) as standby:
        async with TcpProxy(primary.port) as proxy:
            moved = url.replace(f":{primary.port}/", f":{proxy.port}/")
            async with outage(ledger_at(moved), tmp_path, strict=True) as run:
                proxy.lead_to(standby.port)
                await run.check_served()
                await asyncio.to_thread(standby.promote)
                await run.check_recovered()


async def test_a_primary_that_becomes_a_standby_is_left(primary: Postgres, tmp_path: Path) -> None:
    """Its open connections stay usable for reads, so the ledger has to close them to find the new primary."""
    with primary.database("demoted") as url:
        async with outage(ledger_at(url), tmp_path, strict=True) as run:
            with primary.read_only():
                await run.check_served()
                await _until_read_only(run.ledger)
            await run.check_recovered()


async def test_a_connection_that_breaks_at_any_byte(primary: Postgres) -> None:
    """A commit whose outcome is unknown is repeated, and changes nothing the second time."""
    with primary.database("bytes") as url:
        async with TcpProxy(primary.port) as proxy:
            ledger = ledger_at(url.replace(f":{primary.port}/", f":{proxy.port}/"))
            await ledger.start()
            for cut in range(0, 1200, 40):
                record = f"r{cut}"
                for make in (
                    lambda record=record: ledger.begin(usage_record(record, generation_id=record)),
                    lambda record=record: ledger.finish(finished_record(record, generation_id=record)),
                ):
                    proxy.cut_after_bytes(cut)
                    await _repeated(make)
            proxy.cut_after_bytes(10**9)
            entries = await ledger.entries(0, 1000)
            records = await ledger.list_records(RecordQuery(), None, 1000)
            await ledger.close()
    assert [entry.sequence for entry in entries] == list(range(1, 61))
    assert len(records) == 30
    assert proxy.cut_count > 10


async def test_a_process_that_stops_within_a_transaction(primary: Postgres) -> None:
    """The lock that it holds is freed, so that others can write."""
    with primary.database("stopped") as url:
        ledger, stopped = ledger_at(url), database.postgresql(url, 0.5)
        await ledger.start()
        with stopped.connect() as connection:
            connection.execute(counter.select().with_for_update())
            await _repeated(lambda: ledger.begin(usage_record()))
            connection.invalidate()
        stopped.dispose()
        await ledger.close()


async def _until_read_only(ledger: ReadableLedger) -> None:
    """Waits until reads fail as well, because the ledger's connections lead to no primary."""
    async with asyncio.timeout(20):
        while True:
            try:
                await ledger.list_records(RecordQuery(), None, 1)
            except StoreUnavailable as error:
                if "read-only" in error.message:
                    return


async def _repeated(call: Callable[[], Awaitable[None]]) -> None:
    """Makes a call, again while the database is away."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):
                await call()
                return
