"""Spills: keep failed ledger calls in a file, or nowhere."""

from __future__ import annotations

import asyncio
import fcntl
import os
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from tokengrpc.core.ports.ledger import SpilledCall
from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

log = structlog.get_logger(__name__)


class FileSpill:
    """Spill in a file of JSON lines, one per call. Lines are synced to disk before `add` returns.

    A line that a crash or a full disk cut off is dropped, because its `add` had not succeeded. The file is
    locked from the first call on, and the system drops the lock with the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    async def load(self) -> Sequence[SpilledCall]:
        """See `Spill`."""
        return await self._do(self._load)

    async def add(self, calls: Sequence[SpilledCall]) -> None:
        """See `Spill`."""
        await self._do(lambda: self._add(calls))

    async def clear(self) -> None:
        """See `Spill`."""
        await self._do(lambda: os.ftruncate(self._open(), 0))

    def close(self) -> None:
        """See `Spill`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror}") from error

    def _open(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _sync_directory(self._path.parent)
            except BlockingIOError:
                os.close(descriptor)
                raise StoreUnavailable(
                    f"another server uses {self._path.parent}: give each server a data_dir of its own"
                ) from None
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        return self._descriptor

    def _load(self) -> list[SpilledCall]:
        self._open()
        calls = []
        for number, line in enumerate(self._path.read_bytes().split(b"\n"), 1):
            try:
                if line:
                    calls.append(msgspec.json.decode(line, type=SpilledCall))
            except msgspec.DecodeError:
                log.warning("dropped a line of the spill file that cannot be decoded", line=number)
        return calls

    def _add(self, calls: Sequence[SpilledCall]) -> None:
        descriptor = self._open()
        # The line end before a line keeps it apart from one that was cut off.
        left = b"".join(b"\n" + msgspec.json.encode(call) for call in calls) + b"\n"
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    """Makes a new file in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MemorySpill:
    """Spill that keeps nothing: failed calls are lost with the process, which keeps them in `Billing`."""

    async def load(self) -> Sequence[SpilledCall]:
        """See `Spill`."""
        return ()

    async def add(self, calls: Sequence[SpilledCall]) -> None:
        """See `Spill`."""

    async def clear(self) -> None:
        """See `Spill`."""

    def close(self) -> None:
        """See `Spill`."""
