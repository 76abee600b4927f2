"""A ledger that remembers the newest entries."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import structs

if TYPE_CHECKING:
    from tokengrpc.core.model import UsageReport
    from tokengrpc.core.ports.ledger import LedgerEntry


class MemoryLedger:
    """Remembers the newest entries while the process lives; no bill survives it."""

    def __init__(self, max_entries: int = 10_000) -> None:
        self._max = max_entries
        self.entries: OrderedDict[str, LedgerEntry] = OrderedDict()

    async def open(self, entry: LedgerEntry) -> None:
        """Adds an entry."""
        self.entries[entry.record_id] = entry
        while len(self.entries) > self._max:
            self.entries.popitem(last=False)

    async def close(self, entry: LedgerEntry) -> None:
        """Replaces it by its final form."""
        before = self.entries.get(entry.record_id)
        if before is not None and before.settled_usage is not None:
            entry = structs.replace(entry, settled_usage=before.settled_usage)
        self.entries[entry.record_id] = entry

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """Puts what came late beside the bill, if it is still remembered."""
        if record_id in self.entries:
            self.entries[record_id] = structs.replace(self.entries[record_id], settled_usage=usage)
