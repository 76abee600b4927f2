"""The budget `tenant`: rates and budgets of tenants, as the tenant of each call has them."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from tokengrpc.core.budget import accounts, period_end, period_start
from tokengrpc.core.model import Usage
from tokengrpc.core.ports.budget import BudgetStatus
from tokengrpc.core.ports.observer import BudgetLeased
from tokengrpc.core.tenant import Period
from tokengrpc.errors import Limit, QuotaExceeded
from tokengrpc.limits.expected_output import ExpectedOutput
from tokengrpc.limits.grant import Share, TenantGrant, exhausted
from tokengrpc.limits.leases import Leases, unavailable
from tokengrpc.limits.rates import WINDOW, Rates
from tokengrpc.limits.request_windows import BoundedMemory, RequestWindows
from tokengrpc.limits.token_windows import MemoryTokenWindows
from tokengrpc.limits.unlimited import UnlimitedGrant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.budget import Account
    from tokengrpc.core.ports.budget import BudgetRequest, BudgetStore, Grant, RateWindows
    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.core.tenant import BudgetRule, Tenant
    from tokengrpc.limits.leases import Holding

_UNLIMITED = UnlimitedGrant()


class TenantBudget:
    """Budget that limits each tenant as it says itself. Generations of tenants without limits cost nothing.

    The order is: budgets, which can be returned, then rates. A request that one of them refuses uses none.
    """

    def __init__(self, window: int = WINDOW) -> None:
        """Takes the seconds of the windows of rates."""
        self.window = window
        self._shared: RateWindows | None = None
        self._rates = Rates(partial(_requests_in_memory, window), MemoryTokenWindows(window))
        self._expected = ExpectedOutput()
        self._store: BudgetStore | None = None
        self._emit: Callable[[ObserverEvent], None] = lambda _event: None
        self._leases: Leases | None = None

    def use_store(self, store: BudgetStore | None, emit: Callable[[ObserverEvent], None]) -> None:
        """See `KeepsBudgets`."""
        self._store = store
        self._emit = emit

    def share_rates(self, windows: RateWindows) -> None:
        """See `SharesRates`."""
        self._shared = windows
        self._rates = Rates(lambda: RequestWindows(windows, self.window), windows)

    async def start(self) -> None:
        """See `Budget`."""
        if self._store is not None:
            self._leases = Leases(self._store, self._leased)

    async def close(self) -> None:
        """See `Budget`."""
        if self._leases is not None:
            await self._leases.close()
        if self._shared is not None:
            await self._shared.close()

    async def reserve(self, request: BudgetRequest) -> Grant:
        """See `Budget`."""
        tenant = request.identity.tenant
        if not is_limited(tenant):
            return _UNLIMITED
        name, model = tenant.name, request.model
        output = self._expected.expect(name, model, request.max_output_token_count)
        shares: list[Share] = []
        try:
            for rule, account in accounts(tenant, model, request.labels, request.create_time_ns):
                shares.append(await self._reserve(rule, account, request, output))
            taken = await self._rates.take(tenant, model, request.input_token_count + output)
        except BaseException:
            for share in shares:
                share.holding.settle(share.reserved, 0)
            raise

        async def settled(usage: Usage) -> None:
            if usage.output:
                self._expected.learn(name, model, usage.output)
            await self._rates.settle(taken, usage.input + usage.output)

        return TenantGrant(request, shares, self._leases, settled)

    async def statuses(self, tenant: Tenant) -> Sequence[BudgetStatus]:
        """See `KeepsBudgets`."""
        return await budget_statuses(self._store, tenant)

    async def _reserve(
        self, rule: BudgetRule, account: Account, request: BudgetRequest, output: int
    ) -> Share:
        """Reserves the expected usage, or if less is left, that: at least the input and a token of output."""
        leases = self._leases
        if leases is None:
            raise unavailable()
        holding = leases.holding(account, rule.amount)
        wanted, needed = (_amount(holding, request, tokens) for tokens in (output, 1))
        if holding.free < wanted and not leases.known_empty(holding):
            holding.needed += wanted
            try:
                await asyncio.wait([leases.lease_soon(holding)])
            finally:
                holding.needed -= wanted
        reserved = min(wanted, holding.free)
        if reserved < needed:
            if holding.unavailable:
                raise unavailable()
            if holding.used + needed > holding.limit:
                raise exhausted(rule, holding)
            raise _reserved_by_others(rule, holding)
        reserved = max(0, reserved)
        holding.reserve(reserved)
        return Share(rule, holding, reserved)

    def _leased(self, holding: Holding) -> None:
        """Tells observers how far a budget is used."""
        account = holding.account
        if not account.label_key:
            event = BudgetLeased(
                tenant=account.tenant,
                period=account.period.value,
                currency=account.currency,
                model=account.model,
                used=holding.used / holding.limit,
            )
            self._emit(event)


def is_limited(tenant: Tenant) -> bool:
    """Returns whether a tenant has any limit that this budget checks."""
    return bool(
        tenant.budgets or tenant.requests_per_minute or tenant.tokens_per_minute or tenant.model_rates
    )


def _requests_in_memory(window: int) -> RequestWindows:
    return RequestWindows(BoundedMemory(), window)


def _amount(holding: Holding, request: BudgetRequest, output: int) -> int:
    usage = Usage(input=request.input_token_count, output=output)
    account = holding.account
    return account.amount(usage, request.price(usage) if account.currency else None)


def _reserved_by_others(rule: BudgetRule, holding: Holding) -> QuotaExceeded:
    tenant = holding.account.tenant
    return QuotaExceeded(
        f"running generations of tenant {tenant} have reserved what is left of its budget for this"
        f" {rule.period}: try again when they have ended",
        metadata={"tenant": tenant, "limit": str(rule.amount)},
        limit=Limit(f"budget_{rule.period}", rule.model),
    )


async def budget_statuses(store: BudgetStore | None, tenant: Tenant) -> Sequence[BudgetStatus]:
    """Returns how far a tenant's budgets are used. See `KeepsBudgets`."""
    now = time.time_ns()
    starts = {period: period_start(period, now) for period in Period}
    found = await store.budget_use(tenant.name, min(starts.values())) if store is not None else ()
    statuses: list[BudgetStatus] = []
    for rule in tenant.budgets:
        start = starts[rule.period]
        uses = [
            use
            for use in found
            if (use.account.period, use.account.start_ns) == (rule.period, start)
            and (use.account.currency, use.account.model) == (rule.currency, rule.model)
            and use.account.label_key == rule.label_key
        ]
        values = [(use.account.label_value, use.used + use.leased) for use in uses]
        if not values and not rule.label_key:
            values = [("", 0)]
        statuses += [
            BudgetStatus(
                rule=rule, label_value=value, used=used, period_end_ns=period_end(rule.period, start)
            )
            for value, used in values
        ]
    return statuses


def create(value: str, options: Mapping[str, Any], settings: Settings) -> TenantBudget:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the budget `tenant`."""
    return TenantBudget()
