"""The port of the usage ledger, which has one record per generation, for billing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from tokengrpc.core.model import FinishReason, Usage, UsageReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Record of a generation in the ledger. Times are in nanoseconds since the Unix epoch.

    `usage` is billed. `settled_usage` is the usage that the engine reported after the generation had been cut
    short. `engines` are the engines that the request was sent to, in order. `input_is_cut` flags a generation
    whose engine reported far less input than the server counted: it cut the input without saying so.
    """

    record_id: str
    generation_id: str
    tenant: str
    model: str
    labels: dict[str, str]
    create_time_ns: int
    usage: Usage
    end_time_ns: int | None = None
    finish_reason: FinishReason | None = None
    error_reason: str = ""
    engines: tuple[str, ...] = ()
    settled_usage: UsageReport | None = None
    input_is_cut: bool = False


class UsageLedger(Protocol):
    """Stores usage records. Each call may raise StoreUnavailable; callers bound it in time and repeat it.

    Therefore every call is idempotent: a second `finish` of the same record changes nothing and raises no
    error. When a call returns, its data is as durable as the ledger is (`durable`).
    """

    @property
    def durable(self) -> bool:
        """Whether records survive the process."""

    async def start(self) -> None:
        """Connects or opens files. Called once, before any other call."""

    async def close(self) -> None:
        """Releases everything. Called once, after all other calls."""

    async def begin(self, record: UsageRecord) -> None:
        """Stores the record of a generation that an engine has accepted."""

    async def checkpoint(self, usages: Mapping[str, Usage]) -> None:
        """Stores the usage so far of running generations, by record id. Other ids are ignored."""

    async def finish(self, record: UsageRecord) -> None:
        """Stores the final form of a record, whether or not `begin` was called. The first call counts."""

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """Stores the usage that the engine reported late, as `settled_usage`. May come before `finish`."""


class SpilledCall(msgspec.Struct, frozen=True, kw_only=True):
    """Ledger call that has not succeeded yet: `finish` of a record, or `settle` of a usage report."""

    record_id: str
    finish: UsageRecord | None = None
    settle: UsageReport | None = None


class Spill(Protocol):
    """Keeps failed ledger calls until they succeed."""

    async def load(self) -> Sequence[SpilledCall]:
        """Returns the calls that an earlier process left behind. Called once, before any other call."""

    async def add(self, call: SpilledCall) -> None:
        """Keeps a call, which is durable when this returns. Raises StoreUnavailable if this fails."""

    async def clear(self) -> None:
        """Discards all calls, because each has succeeded."""
