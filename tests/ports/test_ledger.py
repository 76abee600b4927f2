"""The contract of every usage ledger."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.records import finished_record, usage_record
from tokengrpc.core.model import Usage, UsageReport
from tokengrpc.stores.memory import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tokengrpc.core.ports.ledger import UsageLedger, UsageRecord


class Stored:
    """A ledger, and a function that reads its records."""

    def __init__(self, ledger: UsageLedger, records: Callable[[], dict[str, UsageRecord]]) -> None:
        self.ledger = ledger
        self.records = records


@asynccontextmanager
async def memory() -> AsyncIterator[Stored]:
    ledger = MemoryLedger()
    yield Stored(ledger, lambda: dict(ledger.records))


@pytest.fixture(params=[memory])
async def stored(request) -> AsyncIterator[Stored]:
    async with request.param() as made:
        await made.ledger.start()
        yield made
        await made.ledger.close()


async def test_a_record_from_begin_to_finish(stored: Stored) -> None:
    """All fields are stored as given."""
    await stored.ledger.begin(usage_record())
    assert stored.records() == {"r": usage_record()}
    await stored.ledger.finish(finished_record())
    assert stored.records() == {"r": finished_record()}


async def test_every_call_may_be_repeated(stored: Stored) -> None:
    """The first `finish` counts. A late `begin` does not reopen the record."""
    for _ in range(2):
        await stored.ledger.begin(usage_record())
    for _ in range(2):
        await stored.ledger.finish(finished_record())
    await stored.ledger.finish(finished_record(usage=Usage(input=3, output=99)))
    await stored.ledger.begin(usage_record())
    assert stored.records() == {"r": finished_record()}


async def test_finish_needs_no_begin(stored: Stored) -> None:
    """A ledger that was unavailable when the generation began stores the whole record at its end."""
    await stored.ledger.finish(finished_record())
    assert stored.records() == {"r": finished_record()}


async def test_checkpoints_apply_to_running_generations(stored: Stored) -> None:
    """Finished and unknown records are left alone."""
    await stored.ledger.begin(usage_record("runs"))
    await stored.ledger.finish(finished_record("ended"))
    later = Usage(input=3, output=4)
    await stored.ledger.checkpoint({"runs": later, "ended": later, "unknown": later})
    await stored.ledger.checkpoint({})
    found = stored.records()
    assert found["runs"].usage == later
    assert found["ended"] == finished_record("ended")
    assert "unknown" not in found


@pytest.mark.parametrize("early", [True, False], ids=["before finish", "after finish"])
async def test_late_usage_is_stored_next_to_the_billed_usage(stored: Stored, *, early: bool) -> None:
    """`usage` remains the billed usage."""
    report = UsageReport(input=3, output=7)
    await stored.ledger.begin(usage_record())
    if early:
        await stored.ledger.settle("r", report)
    await stored.ledger.finish(finished_record())
    if not early:
        await stored.ledger.settle("r", report)
    assert stored.records()["r"] == finished_record(settled_usage=report)
