"""The real server with its ledger in memory, which also syncs a file as each record begins.

That is the least that a beginning costs if it is to be durable, without a database.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tokengrpc import cli, process, server
from tokengrpc.stores.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from tokengrpc.config import Settings
    from tokengrpc.core.ports.ledger import UsageRecord

_LINE = bytes(4000)  # about as much as a generation takes in SQLite's log


class SyncedLedger(MemoryLedger):
    """Ledger in memory whose beginnings wait for the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._thread = ThreadPoolExecutor(1)

    async def begin(self, record: UsageRecord) -> None:
        """See `UsageLedger`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._sync)
        await super().begin(record)

    def _sync(self) -> None:
        os.pwrite(self._file.fileno(), _LINE, 0)
        os.fdatasync(self._file.fileno())


class Synced(server.Server):
    """A server with that ledger."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, ledger=SyncedLedger())


if __name__ == "__main__":
    process.Server = Synced  # type: ignore[misc] - the command `serve` makes this one
    sys.exit(cli.main())
