"""The usage ledger: who used what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from tokengrpc.core.model import FinishReason, Usage, UsageReport


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A generation as the ledger sees it. Times are nanoseconds since the epoch.

    `usage` is the bill. `settled_usage` is what the engine told after the generation was cut short. `engines`
    are those that it was sent to, in order.
    """

    record_id: str
    generation_id: str
    tenant: str
    model: str
    labels: dict[str, str]
    create_time_ns: int
    usage: Usage
    end_time_ns: int | None = None
    finish_reason: FinishReason | None = None
    error_reason: str = ""
    engines: tuple[str, ...] = ()
    settled_usage: UsageReport | None = None


class UsageLedger(Protocol):
    """Who used what. Durable when `close` returns."""

    async def open(self, entry: LedgerEntry) -> None:
        """Adds an entry whose generation was accepted."""

    async def close(self, entry: LedgerEntry) -> None:
        """Replaces it by its final form. Called exactly once per opened entry."""

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """Puts what the engine told late beside the bill, as `settled_usage`. May come before `close`."""
