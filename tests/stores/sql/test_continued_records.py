"""Open records of a server that died, whose generations other servers continue or may continue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from tests.support.records import usage_record
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import RecordQuery
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.support.postgres import Postgres
    from tokengrpc.core.model import GenerationKey


async def test_what_may_be_continued_is_not_lost(postgres_server: Postgres) -> None:
    """Nor what is being continued. What nobody can continue any more is lost."""
    records = [usage_record(generation_id=f"g{n}") for n in range(3)]
    continued, possible, impossible = [
        msgspec.structs.replace(record, record_id=f"r{n}") for n, record in enumerate(records)
    ]
    spared = {"r0", "r1"}
    asked: dict[str, GenerationKey] = {}

    async def may_continue(keys: Mapping[str, GenerationKey]) -> Collection[str]:
        asked.update(keys)
        return spared & keys.keys()

    with postgres_server.database("continued") as url:
        dead = SqlLedger(database.postgresql(url, 5.0), "dead", lease=1.0)
        await dead.start()
        for record in (continued, possible, impossible):
            await dead.begin(record)
        await dead.close()
        ledger = SqlLedger(database.postgresql(url, 5.0), "here", lease=1.0)
        ledger.spare(may_continue)
        await ledger.start()

        async def wait_lost(ids: set[str]) -> None:
            async with asyncio.timeout(20):
                lost = None
                while lost != ids:
                    found = await ledger.list_records(RecordQuery(), None, 10)
                    lost = {record.record_id for record in found if record.state is RecordState.LOST}
                    await asyncio.sleep(0.05)

        try:
            await wait_lost({"r2"})
            assert asked["r1"].generation_id == "g1"
            await ledger.begin(continued)
            spared.clear()
            await wait_lost({"r1", "r2"})
        finally:
            await ledger.close()
