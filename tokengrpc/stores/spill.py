"""Spills: keep failed ledger calls in a file, or nowhere."""

from __future__ import annotations

import asyncio
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
    """Spill in a file of JSON lines, one per call. Each line is synced to disk before `add` returns.

    A line that a crash cut off is dropped, because its `add` had not returned.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> Sequence[SpilledCall]:
        """See `Spill`. Raises StoreUnavailable if the file cannot be read."""
        return await self._do(self._load)

    async def add(self, call: SpilledCall) -> None:
        """See `Spill`."""
        await self._do(lambda: self._add(call))

    async def clear(self) -> None:
        """See `Spill`."""
        await self._do(lambda: self._path.unlink(missing_ok=True))

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror}") from error

    def _load(self) -> list[SpilledCall]:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        calls = []
        for number, line in enumerate(lines, 1):
            try:
                if line:
                    calls.append(msgspec.json.decode(line, type=SpilledCall))
            except msgspec.DecodeError:
                log.warning("dropped a line of the spill file that cannot be decoded", line=number)
        return calls

    def _add(self, call: SpilledCall) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(call) + b"\n")
            file.flush()
            os.fsync(file.fileno())


class MemorySpill:
    """Spill that keeps nothing: failed calls are lost with the process, which keeps them in `Billing`."""

    async def load(self) -> Sequence[SpilledCall]:
        """See `Spill`."""
        return ()

    async def add(self, call: SpilledCall) -> None:
        """See `Spill`."""

    async def clear(self) -> None:
        """See `Spill`."""
