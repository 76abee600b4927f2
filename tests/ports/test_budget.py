"""The contract of every budget."""

from __future__ import annotations

import pytest

from tokengrpc.core.model import Usage
from tokengrpc.core.tenant import ANYBODY
from tokengrpc.limits.unlimited import UnlimitedBudget


@pytest.mark.parametrize("make", [UnlimitedBudget])
async def test_a_grant_from_reserve_to_settle(make) -> None:
    """Spending within the reservation is allowed any number of times. Then the grant is settled."""
    budget = make()
    await budget.start()
    grant = await budget.reserve(ANYBODY, "m", 100)
    for output in range(50):
        assert grant.spend(Usage(input=10, output=output))
    await grant.settle(Usage(input=10, output=50))
    await budget.close()
