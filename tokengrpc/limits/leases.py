"""What this process has leased of budgets: slices, which are renewed and returned in batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.ports.budget import LeaseRequest
from tokengrpc.errors import StoreUnavailable, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.budget import Account
    from tokengrpc.core.ports.budget import BudgetStore, Lease

LEASE = 30.0
"""Seconds after which what a process leased is void unless it renews it."""

SLICE_SHARE = 0.01
"""Part of a budget that a process leases at once, beyond what its generations need."""

_RECHECK = 1.0
"""Seconds for which a budget that had nothing left is not asked again."""

log = structlog.get_logger(__name__)


class Holding:
    """Part of an account's budget that this process has leased, and that its generations have reserved.

    `leased` is what is left of the lease, without what settled generations used. `reserved` may exceed it by
    up to `slice`, while more is being leased. `settled` counts the generations that have settled.
    """

    __slots__ = (
        "account",
        "empty_until",
        "leased",
        "limit",
        "needed",
        "reserved",
        "settled",
        "slice",
        "unavailable",
        "used",
    )

    def __init__(self, account: Account, limit: int) -> None:
        self.account = account
        self.leased = self.reserved = self.needed = self.used = self.settled = 0
        self.empty_until = 0.0
        self.unavailable = False
        self.take_limit(limit)

    def take_limit(self, limit: int) -> None:
        """Takes the limit as it is now: it may have been changed."""
        self.limit = limit
        self.slice = max(1, int(limit * SLICE_SHARE))

    @property
    def free(self) -> int:
        """What is leased and not reserved. Below 0 if generations got ahead of the next lease."""
        return self.leased - self.reserved

    @property
    def idle(self) -> bool:
        """Whether nothing is reserved or needed."""
        return not self.reserved and not self.needed

    def reserve(self, amount: int) -> None:
        """Reserves an amount for a generation."""
        self.reserved += amount

    def settle(self, reserved: int, used: int) -> None:
        """Returns a reservation. What was used of it is in the ledger."""
        self.reserved -= reserved
        self.leased -= used
        self.used += used
        # What the store said may have counted this both as used and as leased.
        self.settled += 1
        self.empty_until = 0.0


class Leases:
    """All holdings of the process. One call of the store at a time leases for all that need something."""

    def __init__(self, store: BudgetStore, on_lease: Callable[[Holding], None]) -> None:
        """Takes the store; `on_lease` is called with each holding whose lease was renewed."""
        self._store = store
        self._on_lease = on_lease
        self._holdings: dict[Account, Holding] = {}
        self._wanting: dict[Account, Holding] = {}
        self._calling = asyncio.Lock()
        self._leasing: asyncio.Task[None] | None = None
        self._round: asyncio.Future[None] | None = None
        self._renewing = asyncio.get_running_loop().create_task(self._renew())

    def holding(self, account: Account, limit: int) -> Holding:
        """Returns the holding of an account whose budget has a limit."""
        holding = self._holdings.get(account)
        if holding is None:
            holding = self._holdings[account] = Holding(account, limit)
        elif holding.limit != limit:
            holding.take_limit(limit)
            holding.empty_until = 0.0
        return holding

    def known_empty(self, holding: Holding) -> bool:
        """Returns whether the store has just said that nothing is left."""
        return holding.empty_until > asyncio.get_running_loop().time()

    def lease_soon(self, holding: Holding) -> asyncio.Future[None]:
        """Begins to lease another slice of an account. The future is done when the store has answered."""
        loop = asyncio.get_running_loop()
        self._wanting[holding.account] = holding
        if self._round is None:
            self._round = loop.create_future()
        if self._leasing is None:
            self._leasing = loop.create_task(self._lease_wanted())
        return self._round

    async def close(self) -> None:
        """Returns all leases."""
        self._renewing.cancel()
        await asyncio.wait([self._renewing, *filter(None, [self._leasing])])
        await self._lease(list(self._holdings.values()), give_back=True)

    async def _lease_wanted(self) -> None:
        try:
            while self._round is not None:
                wanting, self._wanting = self._wanting, {}
                done, self._round = self._round, None
                try:
                    await self._lease(list(wanting.values()))
                finally:
                    done.set_result(None)
        finally:
            self._leasing = None

    async def _lease(self, holdings: Sequence[Holding], *, give_back: bool = False) -> None:
        """Leases what holdings need, or gives back what they do not."""
        if not holdings:
            return
        async with self._calling:
            await self._call(holdings, give_back=give_back)

    async def _call(self, holdings: Sequence[Holding], *, give_back: bool) -> None:
        if give_back:
            for holding in holdings:
                holding.leased = min(holding.leased, holding.reserved)
        requests = [_request(holding, give_back=give_back) for holding in holdings]
        settled = [holding.settled for holding in holdings]
        try:
            leases = await self._store.lease_budgets(requests, LEASE)
        except Exception as error:
            if isinstance(error, TokenGrpcError):
                log.warning("budgets cannot be leased", cause=error.message)
            else:
                log.exception("unexpected error while leasing budgets")
            for holding in holdings:
                holding.unavailable = True
            return
        for holding, request, lease, before in zip(holdings, requests, leases, settled, strict=True):
            self._take(holding, request, lease, outdated=holding.settled != before)

    def _take(self, holding: Holding, request: LeaseRequest, lease: Lease, *, outdated: bool) -> None:
        """Takes a lease. It is `outdated` if generations have settled since it was asked for."""
        holding.unavailable = False
        holding.used = lease.used
        holding.leased += lease.amount - request.kept
        is_empty = lease.amount - request.kept < request.wanted and not outdated
        holding.empty_until = asyncio.get_running_loop().time() + _RECHECK if is_empty else 0.0
        self._on_lease(holding)

    async def _renew(self) -> None:
        """Renews the leases of busy accounts, gives back those of idle ones, and forgets these."""
        while True:
            await asyncio.sleep(LEASE / 3)
            idle = [holding for holding in self._holdings.values() if holding.idle]
            await self._lease([holding for holding in self._holdings.values() if not holding.idle])
            await self._lease([holding for holding in idle if holding.leased], give_back=True)
            for holding in idle:
                if holding.idle and not holding.leased:
                    self._holdings.pop(holding.account, None)


def _request(holding: Holding, *, give_back: bool) -> LeaseRequest:
    # Towards the end, slices become smaller, so that no process keeps for itself what others need.
    ahead = min(holding.slice, max(0, holding.limit - holding.used) // 8)
    wanted = 0 if give_back else max(0, holding.needed + ahead - holding.free)
    return LeaseRequest(
        account=holding.account, limit=holding.limit, kept=max(0, holding.leased), wanted=wanted
    )


def unavailable() -> StoreUnavailable:
    """Returns the error of a budget that cannot be leased now."""
    return StoreUnavailable("the budgets are unavailable: try again later")
