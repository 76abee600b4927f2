"""Accounts of tenants that wait for engines, and turns of the priorities. No I/O, no clock."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokengrpc.core.tenant import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tokengrpc.core.pooled_engine import PooledEngine, Slot, SlotRequest

SHARE = 20
"""Of this many places, a class that waits gets at least one, also if two of them do."""

_KEPT_ACCOUNTS = 64
_RETURNING = -1.0


@dataclass(slots=True, kw_only=True, eq=False)
class Waiter:
    """Waiting request, with what is called at the end of its wait. `number` tells when it arrived first."""

    request: SlotRequest
    granted: Callable[[Slot], None]
    displaced: Callable[[], None]
    number: int
    account: Account
    route: tuple[PooledEngine, ...]

    @property
    def rank(self) -> tuple[float, int]:
        """Rank within its class: the smallest is served next."""
        return self.account.spent, self.number


Line = OrderedDict[Waiter, None]


class Account:
    """Tokens that a tenant has been given in a class: `spent` is divided by its weight and only grows."""

    __slots__ = ("line", "priority", "spent", "tenant", "weight")

    def __init__(self, priority: Priority, tenant: str, weight: int, spent: float) -> None:
        self.priority = priority
        self.tenant = tenant
        self.weight = max(1, weight)
        self.spent = spent
        self.line: Line = OrderedDict()

    @property
    def level(self) -> int:
        """Number of waiting requests in proportion to the weight, rounded up."""
        return -(-len(self.line) // self.weight)

    def spend(self, tokens: int) -> None:
        """Charges the tenant with tokens."""
        self.spent += max(tokens, 1) / self.weight


def insert(line: Line, waiter: Waiter) -> None:
    """Adds a waiter to a line, which is in order of arrival."""
    last = next(reversed(line), None)
    line[waiter] = None
    if last is not None and last.number > waiter.number:
        # Only requests that return can be older than the last one.
        for each in sorted(line, key=lambda each: each.number):
            line.move_to_end(each)


class Turns:
    """Turns of the priorities: the highest first, but after 18 places of higher ones a lower one is due."""

    __slots__ = ("_passed",)

    def __init__(self) -> None:
        self._passed = dict.fromkeys(Priority, 0)

    def next(self, available: Collection[Priority]) -> Priority:
        """Returns whose turn it is, of those that have a request to serve."""
        passed = self._passed
        due = max(available, key=lambda priority: (passed[priority], -priority))
        return due if passed[due] >= SHARE - 2 else min(available)

    def run(self, available: Collection[Priority]) -> int:
        """Returns how many places in a row the next priority gets, if all that are available stay so."""
        priority = self.next(available)
        if len(available) == 1:
            return sys.maxsize
        if priority is not min(available):
            return 1
        return max(1, SHARE - 2 - max(self._passed[other] for other in available if other is not priority))

    def took(self, priority: Priority, waiting: Collection[Priority], places: int = 1) -> None:
        """Notes that requests of a priority were served, and the priorities that still wait."""
        self._passed[priority] = 0
        for other in Priority:
            if other not in waiting:
                self._passed[other] = 0
            elif other > priority:
                self._passed[other] += places

    def copy(self) -> Turns:
        """Returns a copy."""
        copied = Turns()
        copied._passed.update(self._passed)
        return copied


class PriorityClass:
    """Waiting requests of one priority, by tenant.

    `returning` is the account of requests that were served before: it is served first, and never charged.
    """

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self.waiting = 0
        self.returning = Account(priority, "", 1, _RETURNING)
        self._accounts: dict[str, Account] = {}
        # What the tenant that was served last had spent before: where one that begins to wait starts.
        self._spent = 0.0
        # Accounts that wait, by level, and a level that is at least the highest.
        self._levels: dict[int, dict[Account, None]] = {}
        self._top = 0

    def account(self, tenant: str, weight: int) -> Account:
        """Returns the account of a tenant that has a request to add."""
        account = self._accounts.get(tenant)
        if account is None:
            if len(self._accounts) > _KEPT_ACCOUNTS + 2 * self.waiting:
                self._forget()
            self._accounts[tenant] = account = Account(self.priority, tenant, weight, self._spent)
        elif account.weight != weight:
            self._move(account, lambda: setattr(account, "weight", max(1, weight)))
        if not account.line:
            account.spent = max(account.spent, self._spent)
        return account

    def add(self, waiter: Waiter) -> None:
        """Adds a waiter to its account."""
        account = waiter.account
        self.waiting += 1
        self._move(account, lambda: insert(account.line, waiter))

    def remove(self, waiter: Waiter) -> None:
        """Removes a waiter."""
        account = waiter.account
        self.waiting -= 1
        self._move(account, lambda: account.line.pop(waiter))

    def served(self, waiter: Waiter) -> None:
        """Charges a tenant with the input of a request that is served."""
        if waiter.account is not self.returning:
            self._spent = max(self._spent, waiter.account.spent)
            waiter.account.spend(waiter.request.input_tokens)

    def charge(self, tenant: str, tokens: int) -> None:
        """Charges a tenant with the output of a request that was served."""
        account = self._accounts.get(tenant)
        if account is not None:
            account.spend(tokens)

    def level_with_one_more(self, tenant: str, weight: int) -> int:
        """Returns the level of a tenant's account after one more request."""
        account = self._accounts.get(tenant)
        return -(-((len(account.line) if account else 0) + 1) // max(1, weight))

    def newest_above(self, level: int) -> Waiter | None:
        """Returns the newest request of the tenant with the highest level; None if that is not above one."""
        while self._top and not self._levels.get(self._top):
            self._levels.pop(self._top, None)
            self._top -= 1
        if self._top <= level:
            return None
        return next(reversed(next(iter(self._levels[self._top])).line))

    def order(self, cost: Callable[[SlotRequest], float]) -> list[SlotRequest]:
        """Returns the waiting requests in the order in which they are served."""
        ranks = [(_RETURNING, waiter.number, waiter.request) for waiter in self.returning.line]
        for account in self._accounts.values():
            spent, weight = account.spent, account.weight
            for waiter in account.line:
                ranks.append((spent, waiter.number, waiter.request))
                spent += cost(waiter.request) / weight
        ranks.sort()  # numbers are different, so requests are never compared
        return [request for _, _, request in ranks]

    def _move(self, account: Account, change: Callable[[], object]) -> None:
        """Changes an account, and sorts it by its level."""
        before = account.level
        change()
        after = account.level
        if account is self.returning or before == after:
            return
        if before:
            del self._levels[before][account]
        if after:
            self._levels.setdefault(after, {})[account] = None
            self._top = max(self._top, after)

    def _forget(self) -> None:
        """Forgets accounts without which nothing changes: idle, and not ahead of a new one."""
        self._accounts = {
            tenant: account
            for tenant, account in self._accounts.items()
            if account.line or account.spent > self._spent
        }
