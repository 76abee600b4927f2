"""Compares the ledger that servers share with the ends that readers saw."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import RecordQuery
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

if TYPE_CHECKING:
    from tests.support.replica_chaos.load import Tally

_ALL = 10**6
_LEASE = 2
_PATIENCE = 30


async def audit(url: str, tally: Tally) -> None:
    """Expects one closed record of each generation, with the usage that its readers saw at its end.

    A generation whose log was lost may have been started again: it has a lost record as well.
    """
    ledger = SqlLedger(database.postgresql(url, 30.0), "audit", lease=_LEASE)
    await ledger.start()
    try:
        async with asyncio.timeout(_PATIENCE * _LEASE):
            while any(  # noqa: ASYNC110 - another process changes it
                record.state is RecordState.OPEN
                for record in await ledger.list_records(RecordQuery(), None, _ALL)
            ):
                await asyncio.sleep(_LEASE / 4)
        records = await ledger.list_records(RecordQuery(), None, _ALL)
    finally:
        await ledger.close()
    for record in records:
        tally.counts[f"ledger records: {record.state}"] += 1
    for generation_id, end in tally.ends.items():
        mine = [record for record in records if record.generation_id == generation_id]
        if generation_id in tally.deniable:
            mine = [record for record in mine if record.state is RecordState.CLOSED] or mine[:1]
        tally.expect(f"{generation_id} has {len(mine)} records: {mine}", holds=len(mine) == 1)
        if end is not None and len(mine) == 1:
            usage = mine[0].usage.input, mine[0].usage.output
            same = usage == end.usage and mine[0].state is RecordState.CLOSED
            tally.expect(f"{generation_id} ended with {end}, but the ledger has {mine[0]}", holds=same)
