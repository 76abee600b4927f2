"""What every budget does."""

from __future__ import annotations

import pytest

from tokengrpc.core.model import Usage
from tokengrpc.core.tenant import ANYBODY
from tokengrpc.limits.unlimited import UnlimitedBudget


@pytest.mark.parametrize("make", [UnlimitedBudget])
async def test_a_grant_from_reserve_to_settle(make) -> None:
    """Spending within what was reserved is allowed, as often as an engine is read; then it is settled."""
    budget = make()
    await budget.start()
    grant = await budget.reserve(ANYBODY, "m", 100)
    for output in range(50):
        assert grant.spend(Usage(input=10, output=output))
    await grant.settle(Usage(input=10, output=50))
    await budget.close()
