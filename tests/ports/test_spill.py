"""The contract of every spill, and what a spill file survives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.records import finished_record
from tokengrpc.core.model import UsageReport
from tokengrpc.core.ports.ledger import SpilledCall
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.spill import FileSpill, MemorySpill

if TYPE_CHECKING:
    from pathlib import Path

CALLS = [
    SpilledCall(record_id="a", finish=finished_record("a")),
    SpilledCall(record_id="b", finish=finished_record("b", error_reason="ENGINE_LOST")),
    SpilledCall(record_id="a", settle=UsageReport(input=1, output=2)),
]


@pytest.mark.parametrize("make", [FileSpill, lambda path: MemorySpill()], ids=["file", "memory"])
async def test_calls_are_kept_until_they_are_cleared(make, tmp_path: Path) -> None:
    """A new spill is empty. Cleared calls do not return."""
    spill = make(tmp_path / "not there yet" / "spill.jsonl")
    assert list(await spill.load()) == []
    for call in CALLS:
        await spill.add(call)
    await spill.clear()
    assert list(await make(tmp_path / "not there yet" / "spill.jsonl").load()) == []


async def test_a_file_outlives_the_process(tmp_path: Path) -> None:
    """Calls are read back in order, with all their fields."""
    path = tmp_path / "spill.jsonl"
    for call in CALLS:
        await FileSpill(path).add(call)
    assert list(await FileSpill(path).load()) == CALLS


async def test_a_truncated_line_is_dropped(tmp_path: Path) -> None:
    """A crash during a write loses only that call, which was not promised."""
    path = tmp_path / "spill.jsonl"
    for call in CALLS:
        await FileSpill(path).add(call)
    path.write_bytes(path.read_bytes()[:-20])
    assert list(await FileSpill(path).load()) == CALLS[:-1]


async def test_a_file_that_cannot_be_written_raises_an_error(tmp_path: Path) -> None:
    """The caller learns that the call is not durable."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="spill"):
        await FileSpill(tmp_path / "file" / "spill.jsonl").add(CALLS[0])
