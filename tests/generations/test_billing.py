"""Billing by itself."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.harness import until
from tests.support.records import finished_record, usage_record
from tests.support.services import billing
from tokengrpc.core.ports.ledger import LedgerUnusable, SpilledCall
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.memory_ledger import MemoryLedger
from tokengrpc.stores.spill import MemorySpill


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


class Late(MemoryLedger):
    """A ledger whose database is away, then of another version, then there."""

    def __init__(self, *errors: StoreUnavailable) -> None:
        super().__init__()
        self.errors = list(errors)

    async def start(self):
        if self.errors:
            raise self.errors.pop(0)


class Kept(MemorySpill):
    """A spill with calls that an earlier process left."""

    def __init__(self, *calls: SpilledCall) -> None:
        self.calls = list(calls)

    async def load(self):
        await asyncio.sleep(0)
        return self.calls

    async def add(self, calls):
        self.calls += calls

    async def clear(self):
        self.calls.clear()


async def test_a_ledger_that_comes_up_late() -> None:
    """It gets what was spilled before and meanwhile, and nothing is lost while it is of another version."""
    ledger = Late(StoreUnavailable("away"), StoreUnavailable("away"), LedgerUnusable("newer"))
    spill = Kept(SpilledCall(record_id="left", finish=finished_record("left")))
    late = billing(ledger, spill)
    await late.start()
    assert not late.available
    await late.begin(usage_record("new"))
    assert [call.record_id for call in spill.calls] == ["left", "new"]
    await until(lambda: late.available and not late.waiting)
    assert not ledger.errors
    assert ledger.records == {"left": finished_record("left"), "new": usage_record("new")}
    assert not spill.calls
    await late.close()


@pytest.mark.parametrize(
    ("strict", "error"), [(True, StoreUnavailable("away")), (False, LedgerUnusable("newer"))]
)
async def test_a_ledger_that_the_server_does_not_start_with(*, strict: bool, error: StoreUnavailable) -> None:
    """If strict, one that is away; and always, one that waiting does not mend."""
    refused = billing(Late(error), strict=strict)
    with pytest.raises(type(error)):
        await refused.start()
    await refused.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


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
