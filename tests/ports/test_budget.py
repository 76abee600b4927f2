"""The contract of every budget."""

from __future__ import annotations

import pytest

from tokengrpc.core.model import GenerationKey, Usage
from tokengrpc.core.ports.budget import BudgetRequest, KeepsBudgets
from tokengrpc.core.tenant import BudgetRule, Identity, Period, Tenant
from tokengrpc.errors import BudgetExhausted, QuotaExceeded
from tokengrpc.limits.tenant import TenantBudget
from tokengrpc.limits.unlimited import UnlimitedBudget
from tokengrpc.stores.memory_ledger import MemoryLedger

NOW = 1_795_000_000 * 10**9


def wanted(**limits) -> BudgetRequest:
    tenant = Tenant(name="a", **limits)
    return BudgetRequest(
        identity=Identity(tenant=tenant),
        key=GenerationKey("a", "g"),
        model="m",
        create_time_ns=NOW,
        input_token_count=10,
        max_output_token_count=90,
    )


@pytest.mark.parametrize("make", [UnlimitedBudget, TenantBudget])
async def test_a_grant_from_reserve_to_settle(make) -> None:
    """Spending within the reservation is allowed any number of times. Then the grant is settled."""
    budget = make()
    await budget.start()
    grant = await budget.reserve(wanted())
    for output in range(50):
        assert grant.spend(Usage(input=10, output=output))
    await grant.settle(Usage(input=10, output=50))
    await budget.close()


async def test_a_reserved_budget_is_refused_until_it_is_settled():
    """As QUOTA_EXCEEDED, because it is not spent. What was not used is free again."""
    budget = TenantBudget()
    assert isinstance(budget, KeepsBudgets)
    budget.use_store(MemoryLedger(), lambda _event: None)
    await budget.start()
    limits = {"budgets": (BudgetRule(amount=105, period=Period.DAY),)}
    grant = await budget.reserve(wanted(**limits))
    with pytest.raises(QuotaExceeded):
        await budget.reserve(wanted(**limits))
    assert grant.spend(Usage(input=10, output=90))
    assert not grant.spend(Usage(input=10, output=97))
    assert isinstance(grant.refusal(), BudgetExhausted)
    await grant.settle(Usage(input=10, output=0))
    again = await budget.reserve(wanted(**limits))
    await again.settle(Usage())
    await budget.close()


async def test_a_request_that_is_refused_reserves_nothing():
    """Of any of the budgets that it draws on."""
    budget = TenantBudget()
    budget.use_store(MemoryLedger(), lambda _event: None)
    await budget.start()
    small, large = BudgetRule(amount=5, period=Period.MONTH), BudgetRule(amount=150, period=Period.DAY)
    for _ in range(3):
        with pytest.raises(BudgetExhausted):
            await budget.reserve(wanted(budgets=(large, small)))
    await (await budget.reserve(wanted(budgets=(large,)))).settle(Usage())
    await budget.close()
