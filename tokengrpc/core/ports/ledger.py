"""The port of the usage ledger, which has one record per generation, for billing."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec
from msgspec import structs

from tokengrpc.core.attempts import Attempt
from tokengrpc.core.model import Cost, FinishReason, Usage, UsageReport, UsageSource
from tokengrpc.core.tenant import Priority
from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from tokengrpc.core.model import GenerationKey

    MayContinue = Callable[[Mapping[str, GenerationKey]], Awaitable[Collection[str]]]
    from tokengrpc.core.prices import PriceList


class RecordState(StrEnum):
    """State of a usage record.

    OPEN: the generation runs. CLOSED: it has ended. LOST: its server died, and the usage is that of the last
    checkpoint.
    """

    OPEN = "OPEN"
    CLOSED = "CLOSED"
    LOST = "LOST"


class UsageRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Record of a generation in the ledger. Times are in nanoseconds since the Unix epoch.

    `usage` is billed. `settled_usage` is the usage that the engine reported after the generation had been cut
    short. `engines` are the engines that the request was sent to, in order; `attempts` tells what came of
    each. `input_is_cut` flags a generation whose engine reported far less input than the server counted: it
    cut the input without saying so. `server` is the server that ran the generation. `event_bytes` is the size
    of its events as they are sent, and `delivered_sequence` the last one that was handed to the transport for
    any reader: both before `finished`. `lost` records are ended by recovery, at the time at which their
    server was last seen. `cost` is that of `usage`, None while it is open or if there is no price.
    `priority` is the one that the request had, after the tenant's ceiling.
    """

    record_id: str
    generation_id: str
    tenant: str
    model: str
    labels: dict[str, str]
    create_time_ns: int
    usage: Usage
    first_token_time_ns: int | None = None
    end_time_ns: int | None = None
    finish_reason: FinishReason | None = None
    error_reason: str = ""
    engines: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    server: str = ""
    session_id: str = ""
    event_bytes: int = 0
    delivered_sequence: int = 0
    settled_usage: UsageReport | None = None
    input_is_cut: bool = False
    lost: bool = False
    cost: Cost | None = None
    priority: Priority = Priority.STANDARD

    @property
    def state(self) -> RecordState:
        """State of the record."""
        if self.lost:
            return RecordState.LOST
        return RecordState.OPEN if self.end_time_ns is None else RecordState.CLOSED

    def as_lost(self, seen_ns: int) -> UsageRecord:
        """Returns an open record as that of a dead server, last seen at a time: its usage is an estimate."""
        usage = structs.replace(self.usage, source=UsageSource.ESTIMATED)
        ended = max(seen_ns, self.create_time_ns)
        return structs.replace(self, lost=True, end_time_ns=ended, usage=usage)


class RecordRefused(StoreUnavailable):
    """A record with a value that the ledger cannot store. The ledger takes other records."""


class LedgerUnusable(StoreUnavailable):
    """A ledger that no time makes available, such as one of a newer version: no server starts with it."""


class UsageLedger(Protocol):
    """Stores usage records. Each call may raise StoreUnavailable; callers bound it in time and repeat it.

    Therefore every call is idempotent: a second `finish` of the same record changes nothing and raises no
    error. When a call returns, its data is as durable as the ledger is (`durable`).
    """

    @property
    def durable(self) -> bool:
        """Whether records survive the process."""

    async def start(self) -> None:
        """Connects or opens files. Called before any other call, and again after StoreUnavailable.

        Raises LedgerUnusable if it would be in vain to try again.
        """

    async def close(self) -> None:
        """Releases everything. Called once, after all other calls."""

    async def begin(self, record: UsageRecord) -> None:
        """Stores the record of a generation that an engine has accepted.

        If another process has begun it, this one continues it from now on: it is not lost with that process.
        """

    async def checkpoint(self, usages: Mapping[str, Usage]) -> None:
        """Stores the usage so far of running generations, by record id. Other ids are ignored."""

    async def finish(self, record: UsageRecord) -> None:
        """Stores the final form of a record, whether or not `begin` was called. The first call counts.

        A record that is `lost` is stored only if there is none: recovery knows the last checkpoint.
        """

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """Stores the usage that the engine reported late, as `settled_usage`. May come before `finish`."""


@runtime_checkable
class PricesLostUsage(Protocol):
    """A ledger that closes the records of dead servers itself, and therefore prices them."""

    def use_prices(self, prices: PriceList) -> None:
        """Takes the prices for the records that it closes from now on."""


@runtime_checkable
class SparesContinued(Protocol):
    """A ledger that closes the records of dead servers itself, unless other servers may continue them."""

    def spare(self, may_continue: MayContinue) -> None:
        """Takes what tells which generations may still be continued: of keys by record id, those ids."""


class SpilledCall(msgspec.Struct, frozen=True, kw_only=True):
    """Ledger call that has not succeeded yet: `begin`, `finish` or `settle`, whichever argument is set."""

    record_id: str
    begin: UsageRecord | None = None
    finish: UsageRecord | None = None
    settle: UsageReport | None = None


class Spill(Protocol):
    """Keeps failed ledger calls until they succeed."""

    async def load(self) -> Sequence[SpilledCall]:
        """Returns the calls that an earlier process left behind. Called once, before any other call.

        Raises StoreUnavailable if they cannot be read, or if another process uses the same spill.
        """

    async def add(self, calls: Sequence[SpilledCall]) -> None:
        """Keeps calls, which are durable when this returns. Raises StoreUnavailable if this fails."""

    async def clear(self) -> None:
        """Discards all calls, because each has succeeded."""

    def close(self) -> None:
        """Releases everything. Kept calls stay. Called once, after all other calls."""
