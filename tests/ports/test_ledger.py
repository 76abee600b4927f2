"""The contract of every usage ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.records import finished_record, usage_record
from tokengrpc.core.model import Usage, UsageReport
from tokengrpc.core.ports.usage_reader import RecordQuery

if TYPE_CHECKING:
    from tests.support.ledgers import ReadableLedger
    from tokengrpc.core.ports.ledger import UsageRecord


async def all_records(ledger: ReadableLedger) -> dict[str, UsageRecord]:
    return {record.record_id: record for record in await ledger.list_records(RecordQuery(), None, 100)}


async def test_a_record_from_begin_to_finish(ledger: ReadableLedger) -> None:
    """All fields are stored as given."""
    await ledger.begin(usage_record())
    assert await all_records(ledger) == {"r": usage_record()}
    await ledger.finish(finished_record())
    assert await all_records(ledger) == {"r": finished_record()}


async def test_every_call_may_be_repeated(ledger: ReadableLedger) -> None:
    """The first `finish` counts. A late `begin` does not reopen the record."""
    for _ in range(2):
        await ledger.begin(usage_record())
    for _ in range(2):
        await ledger.finish(finished_record())
    await ledger.finish(finished_record(usage=Usage(input=3, output=99)))
    await ledger.begin(usage_record())
    assert await all_records(ledger) == {"r": finished_record()}


async def test_finish_needs_no_begin(ledger: ReadableLedger) -> None:
    """A ledger that was unavailable when the generation began stores the whole record at its end."""
    await ledger.finish(finished_record())
    assert await all_records(ledger) == {"r": finished_record()}


async def test_checkpoints_apply_to_running_generations(ledger: ReadableLedger) -> None:
    """Finished and unknown records are left alone."""
    await ledger.begin(usage_record("runs"))
    await ledger.finish(finished_record("ended"))
    later = Usage(input=3, output=4)
    await ledger.checkpoint({"runs": later, "ended": later, "unknown": later})
    await ledger.checkpoint({})
    found = await all_records(ledger)
    assert found["runs"].usage == later
    assert found["ended"] == finished_record("ended")
    assert "unknown" not in found


@pytest.mark.parametrize("early", [True, False], ids=["before finish", "after finish"])
async def test_late_usage_is_stored_next_to_the_billed_usage(ledger: ReadableLedger, *, early: bool) -> None:
    """`usage` remains the billed usage."""
    report = UsageReport(input=3, output=7)
    await ledger.begin(usage_record())
    if early:
        await ledger.settle("r", report)
    await ledger.finish(finished_record())
    if not early:
        await ledger.settle("r", report)
    assert (await all_records(ledger))["r"] == finished_record(settled_usage=report)
