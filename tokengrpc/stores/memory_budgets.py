"""Use of budgets in memory, by one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.ports.budget import AccountUse, Lease

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokengrpc.core.budget import Account
    from tokengrpc.core.ports.budget import LeaseRequest
    from tokengrpc.core.ports.ledger import UsageRecord

_KEPT = 86_400 * 1_000_000_000
"""Nanoseconds for which an account is kept after its period, for generations that are still running."""


class MemoryBudgets:
    """Use of accounts by closed records, and the leases of the only process. See `BudgetStore`."""

    def __init__(self) -> None:
        # By tenant: what closed records used, and what is leased.
        self._used: dict[str, dict[Account, int]] = {}
        self._leased: dict[Account, int] = {}

    def closed(self, record: UsageRecord) -> None:
        """Takes a record that has just been closed."""
        used = self._used.get(record.tenant, {})
        for account in used:
            if counts(account, record):
                used[account] += account.amount(record.usage, record.cost)

    def lease(self, requests: Sequence[LeaseRequest], kept: Iterable[UsageRecord]) -> Sequence[Lease]:
        """Leases parts of budgets. `kept` are the records that new accounts begin with."""
        return [self._lease(request, kept) for request in requests]

    def _lease(self, request: LeaseRequest, kept: Iterable[UsageRecord]) -> Lease:
        account = request.account
        of_tenant = self._used.setdefault(account.tenant, {})
        if account not in of_tenant:
            for old in [old for old in of_tenant if old.end_ns <= account.start_ns - _KEPT]:
                del of_tenant[old]
                self._leased.pop(old, None)
            of_tenant[account] = sum(
                account.amount(record.usage, record.cost)
                for record in kept
                if record.end_time_ns is not None and counts(account, record)
            )
        used = of_tenant[account]
        granted = max(0, min(request.wanted, request.limit - used - request.kept))
        self._leased[account] = request.kept + granted
        return Lease(amount=request.kept + granted, used=used)

    def use(self, tenant: str, since_ns: int) -> Sequence[AccountUse]:
        """See `BudgetStore`."""
        return [
            AccountUse(account=account, used=used, leased=self._leased.get(account, 0))
            for account, used in self._used.get(tenant, {}).items()
            if account.start_ns >= since_ns
        ]


def counts(account: Account, record: UsageRecord) -> bool:
    """Returns whether an account counts a record."""
    return (
        account.tenant == record.tenant
        and account.model in {"", record.model}
        and (not account.label_key or record.labels.get(account.label_key) == account.label_value)
        and account.start_ns <= record.create_time_ns < account.end_ns
    )
