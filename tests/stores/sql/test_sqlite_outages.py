"""SQLite on a disk that fills up, is made read-only, or beside another process that locks the database."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger_outages import check_books, outage
from tests.support.ledgers import sqlite_ledger
from tests.support.records import finished_record, usage_record
from tests.support.toolchains import REQUIRE_ALL
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import RecordQuery
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.sql.ledger import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STRICT = pytest.mark.parametrize("strict", [True, False], ids=["strict", "degrade"])


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """Mounts a file system of 1 MiB. Skips the test if that needs rights that it does not have."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        (pytest.fail if REQUIRE_ALL else pytest.skip)("mounting a file system needs Linux and root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def make_read_only(mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)


def largest(directory: Path) -> int:
    return max(file.stat().st_size for file in directory.iterdir())


def wal_size(directory: Path) -> int:
    return (directory / f"{FILE}-wal").stat().st_size


def tear(directory: Path, kept: int) -> None:
    """Leaves so many bytes of the write-ahead log, and garbage where the disk was writing."""
    log = directory / f"{FILE}-wal"
    log.write_bytes(log.read_bytes()[:kept] + b"\xa5" * 3000)
    (directory / f"{FILE}-shm").unlink()


@STRICT
async def test_a_full_disk(tmp_path: Path, *, strict: bool) -> None:
    """No answer fails, although the spill cannot be written either. All is written once there is room."""
    with small_disk(tmp_path):
        async with outage(sqlite_ledger(tmp_path, timeout=0.3), tmp_path, strict=strict) as run:
            ballast = tmp_path / "ballast"
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"\0" * 512)
            # What the database can still write fits into pages that its files have already.
            with pytest.raises(StoreUnavailable, match="full"):
                await run.ledger.begin(usage_record("filler", labels={"long": "x" * 65536}))
            await run.check_served()
            ballast.unlink()
            await run.check_recovered()


@STRICT
async def test_a_database_that_another_process_locks(tmp_path: Path, *, strict: bool) -> None:
    """It is asked again until the lock is dropped."""
    async with outage(sqlite_ledger(tmp_path, timeout=0.3), tmp_path, strict=strict) as run:
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await run.check_served()
        other.execute("ROLLBACK")
        other.close()
        await run.check_recovered()


async def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """As on a full disk: an error, and nothing is lost or written in part."""
    ledger = sqlite_ledger(tmp_path, timeout=0.3)
    await ledger.start()
    await ledger.finish(finished_record("before", generation_id="before"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = largest(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    large = finished_record("large", generation_id="large", labels={"long": "x" * size})
    try:
        with pytest.raises(StoreUnavailable, match="the usage ledger failed: "):
            await ledger.finish(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await ledger.finish(large)
    assert (await check_books(ledger)).keys() == {"before", "large"}
    await ledger.close()


async def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    """It is refused at the start, in one line."""
    with small_disk(tmp_path):
        ledger = sqlite_ledger(tmp_path)
        await ledger.start()
        await ledger.close()
        make_read_only(tmp_path)
        with pytest.raises(StoreUnavailable, match=r"the usage ledger failed: [^\n]+$"):
            await sqlite_ledger(tmp_path).start()


async def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """In one line, and without a change for the first one."""
    first = sqlite_ledger(tmp_path)
    await first.start()
    with pytest.raises(StoreUnavailable, match=r"another server uses .*: give each server a data_dir"):
        await sqlite_ledger(tmp_path).start()
    await first.finish(finished_record())
    await first.close()
    second = sqlite_ledger(tmp_path)
    await second.start()
    assert (await check_books(second)).keys() == {"g"}
    await second.close()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
async def test_a_torn_log_as_after_a_power_cut(tmp_path: Path, share: float) -> None:
    """Any part of what was not synced may be on disk. Transactions are there as a whole, or not at all."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    ledger = sqlite_ledger(live)
    await ledger.start()
    await ledger.finish(finished_record("synced", generation_id="synced"))
    synced = wal_size(live)
    for n in range(20):
        await ledger.begin(usage_record(f"r{n}", generation_id=f"r{n}"))
    shutil.copytree(live, copy)
    await ledger.close()
    tear(copy, synced + round((wal_size(copy) - synced) * share))
    after = sqlite_ledger(copy)
    await after.start()
    records = await check_books(after)
    assert records["synced"].state is RecordState.CLOSED
    lost = [record for record in await after.list_records(RecordQuery(), None, 100) if record.lost]
    assert {record.generation_id for record in lost} == {f"r{n}" for n in range(len(lost))}
    assert len(lost) == round(20 * share) if share == 0.0 else 0 < len(lost) < 20
    await after.close()
