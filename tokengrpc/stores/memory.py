"""An event sink in memory, for tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import Durability
from tokengrpc.core.ports.log import AppendOutcome, AppendStatus, LogClaim, joinable_run
from tokengrpc.errors import GenerationNotFound, ReplayExpired

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import Record


@dataclass(slots=True)
class StoredLog:
    """Log of one generation; `dropped` is the number of oldest records that are no longer kept."""

    fingerprint: bytes
    request: bytes
    incarnation: str
    owner: str
    epoch: int = 1
    records: list[Record] = field(default_factory=list)
    dropped: int = 0
    cancelled: bool = False
    subscribers: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last(self) -> int:
        """Last sequence; 0 for an empty log."""
        return self.dropped + len(self.records)

    def claim(self, *, owned: bool) -> LogClaim:
        """Returns the result of a claim."""
        return LogClaim(
            owned=owned,
            epoch=self.epoch,
            owner=self.owner,
            fingerprint=self.fingerprint,
            incarnation=self.incarnation,
        )

    def after(self, sequence: int) -> Sequence[Record]:
        """Returns the records after a sequence. Raises ReplayExpired if the next one is no longer kept."""
        if sequence < self.dropped:
            raise ReplayExpired(f"the events after {sequence} are no longer kept: start again under a new id")
        return self.records[sequence - self.dropped :]


class MemoryEventSink:
    """Event sink in memory: the reference for the outcomes that `EventSink` lists.

    Instances that share `logs` act as replicas of one store; `replica` is the name of this one.
    """

    def __init__(self, replica: str = "local", logs: dict[GenerationKey, StoredLog] | None = None) -> None:
        self.replica = replica
        self.logs: dict[GenerationKey, StoredLog] = {} if logs is None else logs

    async def start(self) -> None:
        """See `EventSink`."""

    async def close(self) -> None:
        """See `EventSink`."""

    @property
    def durability(self) -> Durability:
        """See `EventSink`."""
        return Durability.MEMORY

    async def claim(
        self, key: GenerationKey, fingerprint: bytes, request: bytes, incarnation: str
    ) -> LogClaim:
        """See `EventSink`."""
        log = self.logs.get(key)
        if log is None or log.owner == self.replica:
            epoch = 1 if log is None else log.epoch + 1
            log = self.logs[key] = StoredLog(fingerprint, request, incarnation, self.replica, epoch)
            return log.claim(owned=True)
        return log.claim(owned=False)

    async def append(self, key: GenerationKey, epoch: int, records: Sequence[Record]) -> AppendOutcome:
        """See `EventSink`."""
        log = self.log_of(key)
        first, last = records[0].sequence, records[-1].sequence
        if log.epoch != epoch:
            return AppendOutcome(AppendStatus.FENCED, log.last)
        if first > log.last + 1:
            return AppendOutcome(AppendStatus.HOLE, log.last)
        if last <= log.last:
            return AppendOutcome(AppendStatus.REPEATED, log.last)
        log.records.extend(records[log.last + 1 - first :])
        log.changed.set()
        status = AppendStatus.CANCEL_REQUESTED if log.cancelled else AppendStatus.OK
        return AppendOutcome(status, log.last)

    async def read(self, key: GenerationKey, after: int, max_bytes: int) -> Sequence[Record]:
        """See `EventSink`."""
        rest = self.log_of(key).after(after)
        return joinable_run(rest, max_bytes) if rest else ()

    async def follow(self, key: GenerationKey, after: int) -> AsyncGenerator[Sequence[Record], None]:
        """See `EventSink`."""
        log = self.log_of(key)
        while True:
            while after < log.last:
                records = log.after(after)
                after = records[-1].sequence
                yield records
                if records[-1].kind is RecordKind.FINISHED:
                    return
            log.changed.clear()
            await log.changed.wait()

    async def publish_cancel(self, key: GenerationKey) -> None:
        """See `EventSink`."""
        self.log_of(key).cancelled = True

    async def count_subscribers(self, key: GenerationKey, replica: str, count: int) -> int:
        """See `EventSink`."""
        log = self.log_of(key)
        log.subscribers[replica] = count
        return sum(log.subscribers.values())

    def take_over(self, key: GenerationKey) -> LogClaim:
        """Makes this replica the owner and fences the old owner, as if the owner's lease had expired."""
        log = self.log_of(key)
        log.owner, log.epoch = self.replica, log.epoch + 1
        return log.claim(owned=True)

    def log_of(self, key: GenerationKey) -> StoredLog:
        """Returns a log. Raises GenerationNotFound."""
        log = self.logs.get(key)
        if log is None:
            raise GenerationNotFound(f"there is no log of generation {key.generation_id[:128]!r}")
        return log


def create_event_sink(value: str, options: Mapping[str, Any], settings: Settings) -> MemoryEventSink:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the event store `memory`."""
    return MemoryEventSink()
