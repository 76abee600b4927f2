"""Observers: whoever is told what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokengrpc.core.ports.ledger import LedgerEntry


class Observer(Protocol):
    """Is told what happens. Must not block or raise."""

    def generation_ended(self, entry: LedgerEntry) -> None:
        """A generation has ended; `started` or not."""
