"""Billing by itself."""

from __future__ import annotations

import asyncio

from tests.support.records import finished_record, usage_record
from tests.support.services import billing
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.memory_ledger import MemoryLedger


class Failing(MemoryLedger):
    """A ledger that takes the second record to be finished, then hangs once, then fails."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.hanging = asyncio.Event()

    async def finish(self, record):
        self.calls += 1
        if self.calls == 3:
            self.hanging.set()
            await asyncio.Event().wait()
        if self.calls != 2:
            raise StoreUnavailable("the database is restarting")
        await super().finish(record)


async def test_it_closes_whatever_the_ledger_takes() -> None:
    """And that is soon, even if the ledger takes some of the calls that are kept, and others never."""
    ledger = Failing()
    closing = billing(ledger)
    await closing.start()
    for name in "abc":
        await closing.begin(usage_record(name))
        await closing.finish(finished_record(name))
    async with asyncio.timeout(10):
        await ledger.hanging.wait()
        await closing.close()
    assert closing.waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}
