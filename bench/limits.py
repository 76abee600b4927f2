"""What limits cost: a start with its end, and a read of the engine, without limits and with all of them."""

from __future__ import annotations

import asyncio
import time

from tokengrpc.core.model import GenerationKey, Usage
from tokengrpc.core.ports.budget import BudgetRequest
from tokengrpc.core.tenant import BudgetRule, Identity, Period, Rates, Tenant
from tokengrpc.limits.tenant import TenantBudget
from tokengrpc.stores.memory_ledger import MemoryLedger

ROUNDS, STARTS, READS = 5, 500, 200
AMPLE = 10**12
RATES = {"requests_per_minute": 10**6, "tokens_per_minute": AMPLE}
TENANTS = {
    "no limits": Tenant(name="free"),
    "all limits": Tenant(
        name="limited",
        **RATES,
        model_rates=(("m", Rates(**RATES)),),
        budgets=(
            BudgetRule(amount=AMPLE, period=Period.DAY),
            BudgetRule(amount=AMPLE, period=Period.MONTH, label_key="team"),
        ),
    ),
}


async def measure(budget: TenantBudget, tenant: Tenant) -> tuple[float, float]:
    """Returns the seconds that a start with its end takes, and a read. The lowest of some rounds."""
    request = BudgetRequest(
        identity=Identity(tenant=tenant),
        key=GenerationKey(tenant.name, "g"),
        model="m",
        labels={"team": "x"},
        create_time_ns=time.time_ns(),
        input_token_count=100,
        max_output_token_count=READS,
    )
    usages = [Usage(input=100, output=output) for output in range(READS)]
    starts, reads = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(STARTS):
            await (await budget.reserve(request)).settle(usages[-1])
        starts.append((time.perf_counter() - began) / STARTS)
        grant = await budget.reserve(request)
        began = time.perf_counter()
        for usage in usages:
            grant.spend(usage)
        reads.append((time.perf_counter() - began) / READS)
        await grant.settle(Usage())
    return min(starts), min(reads)


async def main() -> None:
    """Prints a line for each tenant."""
    budget = TenantBudget()
    budget.use_store(MemoryLedger(), lambda _event: None)
    await budget.start()
    for name, tenant in TENANTS.items():
        start, read = await measure(budget, tenant)
        print(f"{name}: {start * 1e6:.1f} us for a start and its end, {read * 1e9:.0f} ns for a read")
    await budget.close()


if __name__ == "__main__":
    asyncio.run(main())
