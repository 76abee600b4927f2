"""Leases of budgets, with a store whose answers arrive when the test says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.core.budget import Account
from tokengrpc.core.ports.budget import Lease
from tokengrpc.core.tenant import Period
from tokengrpc.limits.leases import Leases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.ports.budget import LeaseRequest

ACCOUNT = Account(tenant="a", period=Period.DAY, start_ns=0)


class Store:
    """A store of budgets of which nothing is left. `asked` has its calls, and what they wait for."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def lease_budgets(self, requests: Sequence[LeaseRequest], seconds: float) -> Sequence[Lease]:
        """Keeps what is leased, once the test has set the event."""
        go = asyncio.Event()
        self.asked.put_nowait(go)
        await go.wait()
        return [Lease(amount=request.kept, used=0) for request in requests]


async def test_an_answer_from_before_an_end_does_not_count():
    """The store may have counted what was used as leased too, so it may be wrong that nothing is left."""
    store = Store()
    leases = Leases(store, lambda _holding: None)
    holding = leases.holding(ACCOUNT, 1_000)
    holding.leased = 400
    holding.reserve(400)
    for settles in (True, False):
        answered = leases.lease_soon(holding)
        go = await store.asked.get()
        if settles:
            holding.settle(400, 400)
        go.set()
        await answered
        assert leases.known_empty(holding) is not settles
    closing = asyncio.create_task(leases.close())
    (await store.asked.get()).set()
    await closing
