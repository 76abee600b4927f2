"""The events of generations in memory, bounded each and in total."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING

from tokengrpc.core.events import RecordKind
from tokengrpc.errors import ReplayExpired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.ports.log import Record

_JOINABLE = frozenset({RecordKind.TOKENS, RecordKind.FRAGMENTS})
RECORD_OVERHEAD = 250
"""What a record costs in memory beside its bytes (two bytes objects, a struct, a slot): counted as bytes."""


class MemoryEventLogs:
    """Logs of one process. When the total is over its bound, ended generations are dropped, oldest first.

    When that is not enough, a log that grows loses its own oldest events for its newest ones.
    """

    def __init__(self, *, log_bytes: int, total_bytes: int) -> None:
        self._log_bytes = log_bytes
        self._total_bytes = total_bytes
        self._evictable: OrderedDict[MemoryEventLog, None] = OrderedDict()
        self.used_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether the total is under its bound, or can be brought there."""
        return self.used_bytes < self._total_bytes or bool(self._evictable)

    def create(self) -> MemoryEventLog:
        """A new, empty log."""
        return MemoryEventLog(self, self._log_bytes)

    def added(self, size: int) -> int:
        """A log has grown; answers how many bytes it has to give back."""
        self.used_bytes += size
        while self.used_bytes > self._total_bytes and self._evictable:
            self._evictable.popitem(last=False)[0].drop()
        return max(0, self.used_bytes - self._total_bytes)

    def freed(self, size: int) -> None:
        """A log has shrunk."""
        self.used_bytes -= size

    def evictable(self, log: MemoryEventLog) -> None:
        """A log may be dropped from now on."""
        self._evictable[log] = None

    def pinned(self, log: MemoryEventLog) -> None:
        """A log is in use again, or gone."""
        self._evictable.pop(log, None)


class MemoryEventLog:
    """The events of one generation; the oldest go when they are more than the bound."""

    def __init__(self, logs: MemoryEventLogs, max_bytes: int) -> None:
        self._logs = logs
        self._max_bytes = max_bytes
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._last = 0
        self._dropped: Record | None = None
        self._listeners: dict[Callable[[], None], None] = {}
        self._closed = False

    @property
    def first_sequence(self) -> int:
        """The first record that is kept; one more than `last_sequence` when none is."""
        return self._last - len(self._records) + 1

    @property
    def last_sequence(self) -> int:
        """The last record; 0 before the first."""
        return self._last

    async def append(self, records: Sequence[Record]) -> None:
        """Adds records and calls the listeners once. Raises ValueError on a gap: readers count on none."""
        if records[0].sequence != self._last + 1:
            raise ValueError(f"record {records[0].sequence} cannot follow {self._last}")
        size = 0
        for record in records:
            size += len(record.body) + len(record.tail) + RECORD_OVERHEAD
        self._records.extend(records)
        self._last = records[-1].sequence
        self._bytes += size
        if self._bytes > self._max_bytes:
            size -= self._trim(self._max_bytes)
        excess = self._logs.added(size)
        if excess:
            self._logs.freed(self._trim(max(size, self._bytes - excess)))
        for listener in tuple(self._listeners):
            listener()

    def read(self, after: int, max_bytes: int) -> Sequence[Record]:
        """The records after a sequence that make one message, at least one where there is one."""
        behind = self._last - after
        if behind <= 0:
            return ()
        records = self._records
        start = len(records) - behind
        if start < 0:
            raise ReplayExpired(
                f"the events after {after} are no longer kept (the first kept is {self.first_sequence}):"
                " start again under a new id"
            )
        if behind == 1:
            return (records[-1],)
        return _joinable_run(islice(records, start, None), max_bytes)

    def tail(self, sequence: int) -> bytes:
        """The tail of a record that is kept or was the last to be dropped; empty where neither."""
        position = sequence - self.first_sequence
        if 0 <= position < len(self._records):
            return self._records[position].tail
        if self._dropped is not None and self._dropped.sequence == sequence:
            return self._dropped.tail
        return b""

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` after each append, until the returned function is called."""
        self._listeners[listener] = None
        return lambda: self._listeners.pop(listener, None)

    def allow_eviction(self) -> None:
        """Nothing more will be appended, and nobody reads it: it may be dropped."""
        if not self._closed:  # a forgotten generation's last reader leaves later
            self._logs.evictable(self)

    def forbid_eviction(self) -> None:
        """Somebody reads it again."""
        self._logs.pinned(self)

    def drop(self) -> None:
        """Forgets the events, not their count."""
        self._logs.freed(self._trim(0))

    def close(self) -> None:
        """Forgets everything."""
        self._closed = True
        self.drop()
        self._logs.pinned(self)

    def _trim(self, max_bytes: int) -> int:
        freed = 0
        while self._records and self._bytes > max_bytes:
            record = self._dropped = self._records.popleft()
            size = len(record.body) + len(record.tail) + RECORD_OVERHEAD
            self._bytes -= size
            freed += size
        return freed


def _joinable_run(records: islice[Record], max_bytes: int) -> list[Record]:
    """The first records that may be joined: of one kind that joins, together within `max_bytes`."""
    first = next(records)
    run = [first]
    if first.kind not in _JOINABLE:
        return run
    size = len(first.body)
    for record in records:
        size += len(record.body)
        if record.kind is not first.kind or size > max_bytes:
            break
        run.append(record)
    return run
