"""An event sink in memory, for tests."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokengrpc.core.events import RecordKind
from tokengrpc.core.log_decisions import (
    ClaimDecision,
    Ownership,
    decide_append,
    decide_claim,
    decide_renewal,
    decide_takeover,
)
from tokengrpc.core.model import Durability
from tokengrpc.core.ports.log import (
    AppendOutcome,
    AppendStatus,
    Lease,
    LeaseStatus,
    LogClaim,
    LogState,
    Takeover,
    TakeoverStatus,
    joinable_run,
)
from tokengrpc.errors import GenerationNotFound, LogDiverged, ReplayExpired

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import Record

_KEPT = 3600.0
_COUNTED_LEASES = 3
_APPENDED = frozenset({AppendStatus.OK, AppendStatus.CANCEL_REQUESTED})
_HELD = frozenset({LeaseStatus.HELD, LeaseStatus.CANCEL_REQUESTED})


@dataclass(slots=True)
class StoredLog:
    """Log of one generation; `dropped` is the number of oldest records that are no longer kept.

    `leased_until` and `kept_until` are times in seconds. `subscribers` has each replica's number, and until
    when it counts.
    """

    fingerprint: bytes
    request: bytes
    incarnation: str
    owner: str
    epoch: int = 1
    records: list[Record] = field(default_factory=list)
    dropped: int = 0
    cancelled: bool = False
    leased_until: float = 0.0
    kept_until: float = 0.0
    subscribers: dict[str, tuple[int, float]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last(self) -> int:
        """Last sequence; 0 for an empty log."""
        return self.dropped + len(self.records)

    @property
    def ended(self) -> bool:
        """Whether the last record is FINISHED."""
        return bool(self.records) and self.records[-1].kind is RecordKind.FINISHED

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

    def count(self, now: float) -> int:
        """Returns the number of subscribers over all replicas."""
        return sum(count for count, until in self.subscribers.values() if now < until)


class MemoryLogs:
    """The logs that replicas share. `now` returns the time in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.cancels: defaultdict[str, asyncio.Queue[GenerationKey]] = defaultdict(asyncio.Queue)
        self._logs: dict[GenerationKey, StoredLog] = {}
        self._fences: dict[GenerationKey, tuple[int, float]] = {}

    def fence(self, key: GenerationKey) -> int:
        """Returns the epoch of the owner that ended a generation for others; 0 for none."""
        epoch, until = self._fences.get(key, (0, 0.0))
        if until <= self.now():
            self._fences.pop(key, None)
            return 0
        return epoch

    def put_fence(self, key: GenerationKey, epoch: int, seconds: float) -> None:
        """Fences earlier owners of a log for some seconds, also when it is gone."""
        self._fences[key] = epoch, self.now() + seconds

    def find(self, key: GenerationKey) -> StoredLog | None:
        """Returns a log; None if there is none, or it has expired."""
        log = self._logs.get(key)
        if log is not None and log.kept_until <= self.now():
            self.delete(key)
            return None
        return log

    def put(self, key: GenerationKey, log: StoredLog) -> None:
        """Creates or replaces a log."""
        self.delete(key)
        self._logs[key] = log

    def delete(self, key: GenerationKey) -> None:
        """Deletes a log, if there is one. Its followers notice."""
        log = self._logs.pop(key, None)
        if log is not None:
            log.changed.set()

    def running(self) -> Sequence[tuple[GenerationKey, StoredLog]]:
        """Returns the logs that have not ended."""
        logs = ((key, self.find(key)) for key in tuple(self._logs))
        return [(key, log) for key, log in logs if log is not None and not log.ended]


class MemoryEventSink:
    """Event sink in memory: the reference for the outcomes that `EventSink` lists.

    Instances that share `store` act as replicas of one store; `replica` is the name of this one.
    """

    def __init__(
        self, replica: str = "local", store: MemoryLogs | None = None, *, lease: float = 2.0
    ) -> None:
        self.replica = replica
        self.lease = lease
        self.store = MemoryLogs() if store is None else store

    async def start(self) -> None:
        """See `EventSink`."""

    async def close(self) -> None:
        """See `EventSink`."""

    async def check(self) -> None:
        """See `EventSink`."""
        self.store.now()

    @property
    def durability(self) -> Durability:
        """See `EventSink`."""
        return Durability.MEMORY

    async def claim(
        self, key: GenerationKey, fingerprint: bytes, request: bytes, incarnation: str
    ) -> LogClaim:
        """See `EventSink`."""
        log = self.store.find(key)
        same_log = log is not None and log.incarnation == incarnation
        decision = decide_claim(_ownership(log), self.replica, same_log=same_log)
        if log is None or decision is ClaimDecision.REPLACED:
            epoch = (self.store.fence(key) if log is None else log.epoch) + 1
            log = StoredLog(fingerprint, request, incarnation, self.replica, epoch)
            self.store.put(key, log)
        if decision is not ClaimDecision.REFUSED:
            self._renew(log)
        return log.claim(owned=decision is not ClaimDecision.REFUSED)

    async def append(self, key: GenerationKey, epoch: int, records: Sequence[Record]) -> AppendOutcome:
        """See `EventSink`."""
        log = self.store.find(key)
        first, last = records[0].sequence, records[-1].sequence
        status = decide_append(
            _ownership(log),
            log.last if log else 0,
            Ownership(self.replica, epoch),
            (first, last),
            cancelled=log is not None and log.cancelled,
            fence=self.store.fence(key),
        )
        if log is None:
            return AppendOutcome(status, 0)
        if status is not AppendStatus.FENCED:
            self._renew(log)
        if status in _APPENDED:
            log.records.extend(records[log.last + 1 - first :])
            log.changed.set()
        return AppendOutcome(status, log.last)

    async def read(self, key: GenerationKey, after: int, max_bytes: int) -> Sequence[Record]:
        """See `EventSink`."""
        rest = self.log_of(key).after(after)
        return joinable_run(rest, max_bytes) if rest else ()

    async def follow(self, key: GenerationKey, after: int) -> AsyncGenerator[Sequence[Record], None]:
        """See `EventSink`."""
        log = self.log_of(key)
        seen: Record | None = None
        while True:
            while after < log.last:
                if seen is not None and log.dropped < after and log.after(after - 1)[0] != seen:
                    raise LogDiverged("the store lost events that you have received: discard them")
                records = log.after(after)
                seen = records[-1]
                after = seen.sequence
                yield records
                if records[-1].kind is RecordKind.FINISHED:
                    return
            if self.log_of(key) is not log:
                raise GenerationNotFound(f"generation {key.generation_id[:128]!r} was started anew since")
            log.changed.clear()
            await log.changed.wait()

    async def describe(self, key: GenerationKey) -> LogState | None:
        """See `EventSink`."""
        log, now = self.store.find(key), self.store.now()
        if log is None:
            return None
        return LogState(
            owner=log.owner,
            epoch=log.epoch,
            lease_left=max(0.0, log.leased_until - now),
            fingerprint=log.fingerprint,
            incarnation=log.incarnation,
            request=log.request,
            last=log.last,
            ended=log.ended,
            cancel_requested=log.cancelled,
            subscribers=log.count(now),
        )

    async def renew(self, epochs: Mapping[GenerationKey, int]) -> Mapping[GenerationKey, Lease]:
        """See `EventSink`."""
        leases: dict[GenerationKey, Lease] = {}
        for key, epoch in epochs.items():
            log = self.store.find(key)
            status = decide_renewal(
                _ownership(log),
                Ownership(self.replica, epoch),
                cancelled=log is not None and log.cancelled,
                fence=self.store.fence(key),
            )
            if log is not None and status in _HELD:
                self._renew(log)
            leases[key] = Lease(status, log.count(self.store.now()) if log else 0)
        return leases

    async def take_over(self, key: GenerationKey, epoch: int) -> Takeover:
        """See `EventSink`."""
        log = self.store.find(key)
        status = decide_takeover(
            _ownership(log),
            self.replica,
            epoch,
            leased=log is not None and self.store.now() < log.leased_until,
            ended=log is not None and log.ended,
        )
        if log is None:
            return Takeover(status)
        if status is TakeoverStatus.TAKEN:
            log.owner, log.epoch = self.replica, epoch + 1
            self._renew(log)
        return Takeover(status, log.epoch, log.owner, log.last)

    async def release(self, epochs: Mapping[GenerationKey, int]) -> None:
        """See `EventSink`."""
        for key, epoch in epochs.items():
            log = self.store.find(key)
            if log is not None and _ownership(log) == (self.replica, epoch):
                log.owner, log.leased_until = "", 0.0

    async def retain(self, key: GenerationKey, epoch: int, ttl: float) -> None:
        """See `EventSink`."""
        log = self.store.find(key)
        if log is None or _ownership(log) != (self.replica, epoch):
            return
        if epoch > 1:
            self.store.put_fence(key, epoch, max(ttl, _KEPT))
        log.kept_until = self.store.now() + ttl
        if not ttl:
            self.store.delete(key)

    async def orphans(self, limit: int) -> Sequence[GenerationKey]:
        """See `EventSink`."""
        now = self.store.now()
        ended = [(log.leased_until, key) for key, log in self.store.running() if log.leased_until <= now]
        return [key for _, key in sorted(ended)[:limit]]

    async def publish_cancel(self, key: GenerationKey) -> None:
        """See `EventSink`."""
        log = self.log_of(key)
        log.cancelled = True
        self.store.cancels[log.owner].put_nowait(key)

    async def cancels(self) -> AsyncGenerator[GenerationKey, None]:
        """See `EventSink`."""
        queue = self.store.cancels[self.replica]
        while True:
            yield await queue.get()

    async def count_subscribers(self, counts: Mapping[GenerationKey, int]) -> Mapping[GenerationKey, int]:
        """See `EventSink`."""
        now = self.store.now()
        sums: dict[GenerationKey, int] = {}
        for key, count in counts.items():
            log = self.store.find(key)
            if log is not None:
                log.subscribers[self.replica] = (count, now + _COUNTED_LEASES * self.lease)
            sums[key] = log.count(now) if log else 0
        return sums

    def log_of(self, key: GenerationKey) -> StoredLog:
        """Returns a log. Raises GenerationNotFound."""
        log = self.store.find(key)
        if log is None:
            raise GenerationNotFound(f"there is no log of generation {key.generation_id[:128]!r}")
        return log

    def _renew(self, log: StoredLog) -> None:
        now = self.store.now()
        log.leased_until = now + self.lease
        log.kept_until = now + _KEPT


def _ownership(log: StoredLog | None) -> Ownership | None:
    return None if log is None else Ownership(log.owner, log.epoch)


def create_event_sink(value: str, options: Mapping[str, Any], settings: Settings) -> MemoryEventSink:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the event store `memory`."""
    return MemoryEventSink(secrets.token_hex(8))
