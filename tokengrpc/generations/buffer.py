"""The event buffer: the records of a generation in memory, limited per generation and in total."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING

from tokengrpc.core.ports.log import joinable_run
from tokengrpc.errors import ReplayExpired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.ports.log import Record

RECORD_OVERHEAD = 250
"""Bytes of memory per record in addition to its data: two bytes objects, a struct, a slot of the deque."""


class EventBuffers:
    """The buffers of one process, and the limit on their total size.

    Above the limit, buffers that may be evicted are emptied, oldest first. If that is not enough, a growing
    buffer drops its own oldest records.
    """

    def __init__(self, *, buffer_bytes: int, total_bytes: int) -> None:
        self._buffer_bytes = buffer_bytes
        self._total_bytes = total_bytes
        self._evictable: OrderedDict[EventBuffer, None] = OrderedDict()
        self.used_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether another buffer may be created."""
        return self.used_bytes < self._total_bytes or bool(self._evictable)

    def create(self) -> EventBuffer:
        """Creates an empty buffer."""
        return EventBuffer(self, self._buffer_bytes)

    def grown(self, size: int) -> int:
        """Accounts for a buffer's growth. Returns the number of bytes that this buffer has to release."""
        self.used_bytes += size
        while self.used_bytes > self._total_bytes and self._evictable:
            self._evictable.popitem(last=False)[0].drop()
        return max(0, self.used_bytes - self._total_bytes)

    def shrunk(self, size: int) -> None:
        """Accounts for memory that a buffer has released."""
        self.used_bytes -= size

    def set_evictable(self, buffer: EventBuffer, *, evictable: bool) -> None:
        """Adds a buffer to those that may be evicted, or removes it from them."""
        if evictable:
            self._evictable[buffer] = None
        else:
            self._evictable.pop(buffer, None)


class EventBuffer:
    """Records of one generation, which subscriptions read. Above the size limit, the oldest are dropped."""

    __slots__ = ("_buffers", "_bytes", "_closed", "_dropped", "_last", "_listener", "_max_bytes", "_records")

    def __init__(self, buffers: EventBuffers, max_bytes: int) -> None:
        self._buffers = buffers
        self._max_bytes = max_bytes
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._last = 0
        self._dropped: Record | None = None
        self._listener: Callable[[], None] | None = None
        self._closed = False

    @property
    def first_sequence(self) -> int:
        """First sequence that is kept; `last_sequence` + 1 if none is."""
        return self._last - len(self._records) + 1

    @property
    def last_sequence(self) -> int:
        """Last sequence; 0 before the first record."""
        return self._last

    def append(self, records: Sequence[Record]) -> None:
        """Adds records and calls the listener once.

        Raises ValueError if the records do not follow the last one without a gap: subscriptions rely on that.
        """
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
        excess = self._buffers.grown(size)
        if excess:
            self._buffers.shrunk(self._trim(max(size, self._bytes - excess)))
        if self._listener is not None:
            self._listener()

    def read(self, after: int, max_bytes: int) -> Sequence[Record]:
        """Returns the records after a sequence that make up one message, at least one if there is one.

        Raises ReplayExpired if the next record is no longer kept.
        """
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
        return joinable_run(islice(records, start, None), max_bytes)

    def tail(self, sequence: int) -> bytes:
        """Returns the tail of a record that is kept or was dropped last; empty for any other."""
        position = sequence - self.first_sequence
        if 0 <= position < len(self._records):
            return self._records[position].tail
        if self._dropped is not None and self._dropped.sequence == sequence:
            return self._dropped.tail
        return b""

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Sets the function to call after each append; None removes it."""
        self._listener = listener

    def allow_eviction(self) -> None:
        """Allows eviction above the total limit, because the buffer is complete and has no reader."""
        # The last subscriber of a forgotten generation may leave after `close`.
        if not self._closed:
            self._buffers.set_evictable(self, evictable=True)

    def forbid_eviction(self) -> None:
        """Forbids eviction, because the buffer has a reader again."""
        self._buffers.set_evictable(self, evictable=False)

    def drop(self) -> None:
        """Drops all records. `last_sequence` does not change."""
        self._buffers.shrunk(self._trim(0))

    def close(self) -> None:
        """Drops all records for good."""
        self._closed = True
        self.drop()
        self.forbid_eviction()

    def _trim(self, max_bytes: int) -> int:
        freed = 0
        while self._records and self._bytes > max_bytes:
            record = self._dropped = self._records.popleft()
            size = len(record.body) + len(record.tail) + RECORD_OVERHEAD
            self._bytes -= size
            freed += size
        return freed
