"""What one generation has reserved of its tenant's budgets and rates."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from tokengrpc.errors import BudgetExhausted, Limit
from tokengrpc.limits.leases import unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tokengrpc.core.model import Usage
    from tokengrpc.core.ports.budget import BudgetRequest
    from tokengrpc.core.tenant import BudgetRule
    from tokengrpc.errors import TokenGrpcError
    from tokengrpc.limits.leases import Holding, Leases

_CHUNK = 64
"""Output tokens for which a generation reserves more at once."""


@dataclass(slots=True)
class Share:
    """Part of a holding that a generation has reserved."""

    rule: BudgetRule
    holding: Holding
    reserved: int


class TenantGrant:
    """Grant on budgets and rates of a tenant. See `Grant`.

    Until the output reaches what is reserved, spending is one comparison.
    """

    def __init__(
        self,
        request: BudgetRequest,
        shares: Sequence[Share],
        leases: Leases | None,
        on_settle: Callable[[Usage], Awaitable[None]],
    ) -> None:
        """Takes what was reserved; `on_settle` gets the final usage."""
        self._request = request
        self._shares = shares
        self._leases = leases
        self._on_settle = on_settle
        self._short: Share | None = None
        # The usage up to which nothing has to be looked at.
        self._input = request.input_token_count if shares else 1 << 62
        self._output = -1 if shares else 1 << 62

    def spend(self, usage: Usage) -> bool:
        """See `Grant`."""
        if usage.output <= self._output and usage.input <= self._input:
            return True
        return self._extend(usage)

    def refusal(self) -> TokenGrpcError:
        """See `Grant`."""
        short = self._short or self._shares[0]
        return unavailable() if short.holding.unavailable else exhausted(short.rule, short.holding)

    async def settle(self, usage: Usage) -> None:
        """See `Grant`."""
        for share in self._shares:
            share.holding.settle(share.reserved, self._amount(share, usage))
        self._shares = ()
        await self._on_settle(usage)

    def _amount(self, share: Share, usage: Usage) -> int:
        account = share.holding.account
        return account.amount(usage, self._request.price(usage) if account.currency else None)

    def _extend(self, usage: Usage) -> bool:
        """Reserves more where the usage has reached what is reserved. Returns False if there is no more."""
        further = structs.replace(usage, output=usage.output + _CHUNK)
        self._input, self._output = usage.input, usage.output + _CHUNK
        for share in self._shares:
            amount, ahead = self._amount(share, usage), self._amount(share, further)
            if ahead > share.reserved and not self._reserve(share, amount, ahead):
                self._short = share
                return False
            # How many more tokens the reservation is enough for.
            step = max(1, -(-(ahead - amount) // _CHUNK))
            self._output = min(self._output, usage.output + max(0, share.reserved - amount) // step)
        return True

    def _reserve(self, share: Share, amount: int, ahead: int) -> bool:
        """Reserves up to `ahead` for a share, or what is free. Returns whether `amount` is reserved."""
        holding, leases = share.holding, self._leases
        if leases is None:
            return True
        wanted, needed = ahead - share.reserved, max(0, amount - share.reserved)
        taken = max(0, min(wanted, holding.free))
        if holding.free - taken < holding.slice // 2 and not leases.known_empty(holding):
            leases.lease_soon(holding)
            # The lease arrives later. Until then, the generation may get ahead of it by a slice.
            if taken < needed <= holding.free + holding.slice:
                taken = needed
        share.reserved += taken
        holding.reserve(taken)
        return taken >= needed


def exhausted(rule: BudgetRule, holding: Holding) -> BudgetExhausted:
    """Returns the error of a budget that is spent: until its period ends."""
    account = holding.account
    amount = f"{rule.amount} tokens"
    if rule.currency:
        amount = f"{rule.amount / 1_000_000:.2f} {rule.currency}"
    of = f" for model {rule.model}" if rule.model else ""
    of += f" for each {rule.label_key}" if rule.label_key else ""
    return BudgetExhausted(
        f"tenant {account.tenant} has spent its budget of {amount} a {rule.period}{of}: wait for the next"
        f" {rule.period} or raise it",
        metadata={"tenant": account.tenant, "limit": str(rule.amount)},
        limit=Limit(f"budget_{rule.period}", rule.model),
        retry_after=max(0.0, account.end_ns / 1e9 - time.time()),
    )
