"""The contract of every spill, and what a spill file survives."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from tests.support.records import finished_record, usage_record
from tokengrpc.core.model import UsageReport
from tokengrpc.core.ports.ledger import SpilledCall
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.spill import FileSpill, MemorySpill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CALLS = [
    SpilledCall(record_id="b", begin=usage_record("b")),
    SpilledCall(record_id="a", finish=finished_record("a")),
    SpilledCall(record_id="b", finish=finished_record("b", error_reason="ENGINE_LOST")),
    SpilledCall(record_id="a", settle=UsageReport(input=1, output=2)),
]


async def keep(path: Path, calls: Sequence[SpilledCall]) -> None:
    """Adds calls as one process."""
    spill = FileSpill(path)
    await spill.add(calls)
    spill.close()


async def kept(path: Path) -> list[SpilledCall]:
    """Returns the calls that a new process finds."""
    spill = FileSpill(path)
    calls = list(await spill.load())
    spill.close()
    return calls


@pytest.mark.parametrize("make", [FileSpill, lambda path: MemorySpill()], ids=["file", "memory"])
async def test_calls_are_kept_until_they_are_cleared(make, tmp_path: Path) -> None:
    """A new spill is empty. Cleared calls do not return."""
    spill = make(tmp_path / "not there yet" / "spill.jsonl")
    assert list(await spill.load()) == []
    await spill.add(CALLS)
    await spill.clear()
    spill.close()
    later = make(tmp_path / "not there yet" / "spill.jsonl")
    assert list(await later.load()) == []
    later.close()


async def test_a_file_outlives_the_process(tmp_path: Path) -> None:
    """Calls are read back in order, with all their fields."""
    path = tmp_path / "spill.jsonl"
    await keep(path, CALLS[:1])
    await keep(path, CALLS[1:])
    assert await kept(path) == CALLS


async def test_a_truncated_line_is_dropped(tmp_path: Path) -> None:
    """A crash during a write loses only that call, which was not promised, and none that follows."""
    path = tmp_path / "spill.jsonl"
    await keep(path, CALLS)
    path.write_bytes(path.read_bytes()[:-20])
    assert await kept(path) == CALLS[:-1]
    await keep(path, CALLS[:1])
    assert await kept(path) == [*CALLS[:-1], CALLS[0]]


async def test_a_full_disk_costs_no_other_call(tmp_path: Path) -> None:
    """What was written in part is not mixed up with the next call. The error says so in one line."""
    path = tmp_path / "spill.jsonl"
    await keep(path, CALLS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    spill = FileSpill(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.raises(StoreUnavailable, match=r"spill\.jsonl: File too large"):
            await spill.add(CALLS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await spill.add(CALLS)
    spill.close()
    assert await kept(path) == CALLS * 2


async def test_two_servers_do_not_share_a_file(tmp_path: Path) -> None:
    """One would discard what the other has promised. After its end, another may take over."""
    path = tmp_path / "spill.jsonl"
    first = FileSpill(path)
    await first.add(CALLS)
    with pytest.raises(StoreUnavailable, match=r"another server uses .*: give each server a data_dir"):
        await FileSpill(path).load()
    first.close()
    assert await kept(path) == CALLS


async def test_a_file_that_cannot_be_written_raises_an_error(tmp_path: Path) -> None:
    """The caller learns that the call is not durable."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="spill"):
        await FileSpill(tmp_path / "file" / "spill.jsonl").add(CALLS)
