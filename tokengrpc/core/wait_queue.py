"""The wait queue of a model: bounded, by priority, then fairly by tenant. No I/O; times are in seconds."""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from tokengrpc.core.decaying import Decaying
from tokengrpc.core.retry_delays import RetryDelays
from tokengrpc.core.tenant import Priority
from tokengrpc.core.waiting import Line, PriorityClass, Turns, Waiter, insert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tokengrpc.core.place import Place
    from tokengrpc.core.pooled_engine import PooledEngine, Slot, SlotRequest
    from tokengrpc.core.waiting import Account

_RATE_MEMORY = 5.0
_LONGEST_EXPECTED = 20.0
"""Assumed duration of an attempt, in seconds, while no request has left the queue."""
_RANKING_SECONDS = 5e-4
"""How long an order of all waiting requests is used, for each of them: ten thousand are ordered in 5 s."""


@dataclass(slots=True)
class WaitingTotal:
    """Number of waiting requests of all models, and its limit; 0 means no limit."""

    limit: int = 0
    waiting: int = 0


class _Route:
    """Waiting requests that the same engines may run."""

    __slots__ = ("engines", "heaps", "lanes", "waiting")

    def __init__(self, engines: tuple[PooledEngine, ...]) -> None:
        self.engines = engines
        self.waiting = 0
        self.lanes: dict[Account, _Lane] = {}
        # By priority: what the tenant has spent, the number of the first waiter, and the lane. Tenants only
        # spend more, so an entry that is out of date comes up too early and is corrected then.
        self.heaps: dict[Priority, list[tuple[float, int, _Lane]]] = {priority: [] for priority in Priority}

    def add(self, waiter: Waiter) -> None:
        lane = self.lanes.get(waiter.account)
        if lane is None:
            self.lanes[waiter.account] = lane = _Lane(waiter.account)
            entry = (waiter.account.spent, waiter.number, lane)
            heapq.heappush(self.heaps[waiter.account.priority], entry)
        insert(lane.line, waiter)
        self.waiting += 1

    def remove(self, waiter: Waiter) -> None:
        del self.lanes[waiter.account].line[waiter]
        self.waiting -= 1

    def first(self, priority: Priority) -> Waiter | None:
        """Returns the waiter that is served next in a class; None if there is none."""
        heap = self.heaps[priority]
        while heap:
            spent, number, lane = heap[0]
            if not lane.line:
                heapq.heappop(heap)
                del self.lanes[lane.account]
                continue
            first = lane.first
            if (spent, number) == (lane.account.spent, first.number):
                return first
            heapq.heapreplace(heap, (lane.account.spent, first.number, lane))
        return None


class _Lane:
    """Waiting requests of an account on a route."""

    __slots__ = ("account", "line")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.line: Line = OrderedDict()

    @property
    def first(self) -> Waiter:
        return next(iter(self.line))


class WaitQueue:
    """Requests that wait for a slot.

    Order: interactive requests first, then standard, then batch; of 20 places, a lower class that waits gets
    at least one. Within a class, the tenant that has been given the fewest tokens in proportion to its weight
    is next, and its requests are served in order of arrival. Tokens are counted rather than requests,
    because slots are occupied for about as long as tokens are read and generated: otherwise a tenant
    with long prompts or answers would get more of the engines than its share. A tenant is charged with the
    input when a request is served, and with the output when the attempt has ended: to charge what is expected
    would favour tenants that use more. A tenant that has not been waiting gets no credit for that time.

    A request that was served before, and whose engine failed, is served before all others of its class.

    A full queue rejects requests. If the new request is of a higher class, or if its tenant has fewer waiting
    requests in proportion to its weight than another, it displaces the newest request of the lowest class
    and of the tenant with the most.
    """

    def __init__(
        self,
        *,
        max_length: int = 0,
        total: WaitingTotal | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`max_length` is the queue's own limit, and `total` that of all queues together; 0 is no limit."""
        self._max_length = max_length
        self._total = total or WaitingTotal()
        self._classes = {priority: PriorityClass(priority) for priority in Priority}
        self._turns = Turns()
        self._routes: dict[tuple[PooledEngine, ...], _Route] = {}
        self._waiters: dict[SlotRequest, Waiter] = {}
        self._numbers = count(1)
        self._served = Decaying(_RATE_MEMORY)
        self._delays = RetryDelays(jitter)
        self._positions: dict[SlotRequest, int] = {}
        self._positions_until = 0.0

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def lengths(self) -> Mapping[Priority, int]:
        """Number of waiting requests of each priority. Any thread may read it."""
        return {priority: each.waiting for priority, each in self._classes.items()}

    def number(self, place: Place) -> None:
        """Gives a place its number, if it has none yet: by this, requests of a tenant are in order."""
        if place.number == 0:
            place.number = next(self._numbers)

    def add(
        self, request: SlotRequest, granted: Callable[[Slot], None], displaced: Callable[[], None]
    ) -> bool:
        """Adds a request. Returns False if the queue is full.

        `granted` is called with its slot, or `displaced` when another request has taken its place.
        """
        place = request.place
        self.number(place)
        each = self._classes[place.priority]
        if not place.served and self._is_full:
            victim = self._victim(each, place.tenant, place.weight)
            if victim is None:
                return False
            self.remove(victim.request)
            victim.displaced()
        account = each.returning if place.served else each.account(place.tenant, place.weight)
        route = tuple(request.left)
        waiter = Waiter(
            request=request,
            granted=granted,
            displaced=displaced,
            number=place.number,
            account=account,
            route=route,
        )
        self._waiters[request] = waiter
        self._total.waiting += 1
        each.add(waiter)
        if route not in self._routes:
            self._routes[route] = _Route(route)
        self._routes[route].add(waiter)
        return True

    def remove(self, request: SlotRequest) -> Waiter | None:
        """Removes a request that has left or is served. Returns None if it is not waiting."""
        waiter = self._waiters.pop(request, None)
        if waiter is None:
            return None
        self._positions.pop(request, None)
        self._total.waiting -= 1
        self._classes[request.place.priority].remove(waiter)
        route = self._routes[waiter.route]
        route.remove(waiter)
        if not route.waiting:
            del self._routes[waiter.route]
        return waiter

    def first(self, servable: Callable[[Sequence[PooledEngine]], bool]) -> SlotRequest | None:
        """Returns the request to serve next, of those whose engines are `servable`; None if there is none."""
        routes = [route for route in self._routes.values() if servable(route.engines)]
        heads: dict[Priority, Waiter] = {}
        for route in routes:
            for priority in Priority:
                waiter = route.first(priority)
                if waiter is not None and (priority not in heads or waiter.rank < heads[priority].rank):
                    heads[priority] = waiter
        return heads[self._turns.next(heads)].request if heads else None

    def serve(self, request: SlotRequest, now: float) -> Callable[[Slot], None]:
        """Removes a request that gets a slot now, and charges its tenant. Returns its `granted`."""
        waiter = self._waiters[request]
        self._classes[request.place.priority].served(waiter)
        self.remove(request)
        waiting = [priority for priority, other in self._classes.items() if other.waiting]
        self._turns.took(request.place.priority, waiting)
        self._served.change(1, now, now)
        return waiter.granted

    def charge(self, request: SlotRequest, tokens: int) -> None:
        """Charges the tenant of a request that was served with its output tokens."""
        self._classes[request.place.priority].charge(request.place.tenant, tokens)

    def position(self, request: SlotRequest, cost: Callable[[SlotRequest], float], now: float) -> int:
        """Returns how many requests will probably be served before a waiting one, plus 1; 0 if none waits.

        `cost` returns the tokens that a request is expected to need. The order does not consider that
        requests may wait for different engines. With many requests, it is up to some seconds old.
        """
        if request not in self._waiters:
            return 0
        if now >= self._positions_until:
            self._positions = {each: at for at, each in enumerate(self._order(cost), 1)}
            self._positions_until = now + len(self._waiters) * _RANKING_SECONDS
        return self._positions.get(request, len(self._waiters))

    def retry_delay(self, now: float, running: int) -> float:
        """Returns when a caller that is rejected now finds a place: by how fast requests are served."""
        rate = self._served.at(now) / _RATE_MEMORY
        return self._delays.next(now, max(rate, running / _LONGEST_EXPECTED, 1 / _LONGEST_EXPECTED))

    @property
    def _is_full(self) -> bool:
        total = self._total
        if total.limit and total.waiting >= total.limit:
            return True
        return bool(self._max_length) and len(self._waiters) >= self._max_length

    def _victim(self, newcomer: PriorityClass, tenant: str, weight: int) -> Waiter | None:
        for priority in reversed(Priority):
            if priority is newcomer.priority:
                return newcomer.newest_above(newcomer.level_with_one_more(tenant, weight))
            victim = self._classes[priority].newest_above(0)
            if victim is not None:
                return victim
        return None

    def _order(self, cost: Callable[[SlotRequest], float]) -> list[SlotRequest]:
        """Returns the waiting requests in the order in which they will be served if no other ones come."""
        turns = self._turns.copy()
        lines = {priority: each.order(cost) for priority, each in self._classes.items() if each.waiting}
        done = dict.fromkeys(lines, 0)
        order: list[SlotRequest] = []
        while lines:
            priority = turns.next(lines)
            line, begin = lines[priority], done[priority]
            end = done[priority] = min(begin + turns.run(lines), len(line))
            order += line[begin:end]
            if end == len(line):
                del lines[priority]
            turns.took(priority, lines, end - begin)
        return order
