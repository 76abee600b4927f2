"""The ports of budgets: what limits callers' use, and where the use of periods is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tokengrpc.core.budget import Account  # noqa: TC001 - plugins import it from here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tokengrpc.core.model import Cost, GenerationKey, Usage
    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.core.tenant import BudgetRule, Identity, Tenant
    from tokengrpc.errors import TokenGrpcError


def _free(_usage: Usage) -> Cost | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRequest:
    """What is known of a generation before it starts.

    `input_token_count` is an estimate. `max_output_token_count` is None if nothing limits the output. `price`
    returns the cost of a usage; None without a price. `create_time_ns` is when the request was admitted, and
    decides in which period it counts.
    """

    identity: Identity
    key: GenerationKey
    model: str
    create_time_ns: int
    input_token_count: int
    max_output_token_count: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    price: Callable[[Usage], Cost | None] = _free


class Grant(Protocol):
    """Part of a budget that one generation may use."""

    def spend(self, usage: Usage) -> bool:
        """Takes the cumulative usage. Called once per read from the engine, so it must be fast.

        If it returns False, the generation ends with the error of `refusal` and keeps its partial output.
        """

    def refusal(self) -> TokenGrpcError:
        """Returns why `spend` returned False: BudgetExhausted, or StoreUnavailable."""

    async def settle(self, usage: Usage) -> None:
        """Takes the usage that the ledger has, and returns the rest of the reservation. Called exactly once.

        The ledger or its spill has the record when this is called. Without a record, the usage is zero.
        """


class Budget(Protocol):
    """Reserves usage before a generation starts. `start` and `close` are called once each."""

    async def start(self) -> None:
        """Connects."""

    async def close(self) -> None:
        """Releases everything. The ledger is still open."""

    async def reserve(self, request: BudgetRequest) -> Grant:
        """Reserves what a generation is expected to use.

        Raises QuotaExceeded, BudgetExhausted, or StoreUnavailable if the budget cannot be read now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """Wish for a part of an account's budget, which has `limit` in all.

    The process keeps `kept` of what it has leased, and wants `wanted` in addition.
    """

    account: Account
    limit: int
    kept: int
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Part of an account's budget that a process may use. `used` is what closed records used of it."""

    amount: int
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUse:
    """Use of an account: `used` by closed records, `leased` to running processes."""

    account: Account
    used: int
    leased: int


@runtime_checkable
class BudgetStore(Protocol):
    """Ledger that keeps how much of each budget is used, exactly as its records say, and leases the rest.

    Every call may raise StoreUnavailable.
    """

    async def lease_budgets(self, requests: Sequence[LeaseRequest], seconds: float) -> Sequence[Lease]:
        """Leases parts of budgets for some seconds, in place of those that this process had of them.

        Grants as much as is wanted, or as neither closed records nor leases of others have used. A lease that
        ends is void. An account that is new counts the closed records of its period.
        """

    async def budget_use(self, tenant: str, since_ns: int) -> Sequence[AccountUse]:
        """Returns the accounts of a tenant whose periods began at a time or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """How far a budget is used, reservations included, in tokens or millionths of its currency."""

    rule: BudgetRule
    label_value: str
    used: int
    period_end_ns: int


class RateWindows(Protocol):
    """Windows of requests and tokens that several processes share. Every call may raise StoreUnavailable."""

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Adds a request to a window of `expiry` seconds, unless it has `limit` already."""

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Returns the time of the oldest request in a window, and the number of requests."""

    async def take(self, key: str, limit: int, amount: int) -> tuple[float, int]:
        """Counts tokens. Returns the seconds until they fit, 0 if they were counted, and their second."""

    async def correct(self, key: str, second: int, change: int) -> None:
        """Adds to what was counted in a second, or returns a part of it."""

    async def close(self) -> None:
        """Disconnects."""


@runtime_checkable
class HasRateWindows(Protocol):
    """Event store in whose database rates can be counted."""

    def rate_windows(self, seconds: int) -> RateWindows:
        """Returns windows of some seconds, which connect when they are first used."""


@runtime_checkable
class SharesRates(Protocol):
    """Budget whose rates can be counted for all servers together."""

    window: int
    """Seconds of a window."""

    def share_rates(self, windows: RateWindows) -> None:
        """Takes the windows, which it closes. Called before `start`."""


@runtime_checkable
class KeepsBudgets(Protocol):
    """Budget that uses what the ledger keeps."""

    def use_store(self, store: BudgetStore | None, emit: Callable[[ObserverEvent], None]) -> None:
        """Takes the store, None if the ledger is none, and what tells observers. Called before `start`."""

    async def statuses(self, tenant: Tenant) -> Sequence[BudgetStatus]:
        """Returns how far a tenant's budgets are used, in their order. Raises StoreUnavailable.

        A budget by label has a status for each value that has occurred, and none if there was none.
        """
