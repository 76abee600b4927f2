"""Leases of budgets, with a store whose answers arrive when the test says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.virtual_time import VirtualLoop
from tokengrpc.core.budget import Account
from tokengrpc.core.ports.budget import Lease
from tokengrpc.core.tenant import Period
from tokengrpc.limits.leases import LEASE, Leases

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokengrpc.core.ports.budget import LeaseRequest
    from tokengrpc.limits.leases import Holding

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


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


class Counting:
    """A store that takes a second for each call, or fails. It counts its calls, and those of one moment."""

    def __init__(self) -> None:
        self.calls = self.running = self.most = 0
        self.failing = False

    async def lease_budgets(self, requests: Sequence[LeaseRequest], seconds: float) -> Sequence[Lease]:
        """Leases what is wanted."""
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(1.0)
        self.running -= 1
        if self.failing:
            raise ZeroDivisionError
        return [Lease(amount=request.kept + request.wanted, used=0) for request in requests]


def begun(loop: VirtualLoop, store: Counting) -> tuple[Leases, Holding]:
    """Returns leases, and one of them that is in use."""

    async def begin() -> tuple[Leases, Holding]:
        leases = Leases(store, lambda _holding: None)
        holding = leases.holding(ACCOUNT, 1_000)
        await leases.lease_soon(holding)
        holding.reserve(1)
        return leases, holding

    beginning = loop.create_task(begin())
    loop.advance(1.5)
    return beginning.result()


def close(loop: VirtualLoop, leases: Leases) -> None:
    closing = loop.create_task(leases.close())
    loop.advance(3.0)
    assert closing.done()


def test_the_store_is_asked_by_one_call_at_a_time(loop: VirtualLoop) -> None:
    """What another call says is kept would be outdated: the process would spend what others lease."""
    store = Counting()
    leases, holding = begun(loop, store)
    loop.advance(LEASE / 3 - 2.0)
    loop.call_soon(leases.lease_soon, holding)
    loop.advance(4.0)
    assert (store.calls, store.most) == (3, 1)
    close(loop, leases)


def test_leases_are_renewed_after_an_unexpected_error(loop: VirtualLoop) -> None:
    """Otherwise they would end, and what this process spends would be free for others."""
    store = Counting()
    leases, holding = begun(loop, store)
    store.failing = True
    loop.advance(LEASE / 3 + 1.0)
    assert holding.unavailable
    store.failing = False
    loop.advance(LEASE / 3 + 1.0)
    assert not holding.unavailable
    close(loop, leases)
