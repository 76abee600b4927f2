"""The event buffer: the records of a generation in memory, limited per generation and in total."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from tokengrpc.errors import ReplayExpired
from tokengrpc.generations.packed import PackedRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.ports.log import Record


class Message(msgspec.Struct, frozen=True, gc=False):
    """One or more records as one message, with the sequence and the tail of the last one."""

    data: bytes
    sequence: int
    tail: bytes


def _name() -> str:
    """Returns 16 random characters of A-Z, a-z, 0-9, `_` and `-`."""
    return secrets.token_urlsafe(12)


_FULL = 15 / 16
"""Share of the total size from which no buffer is created. Those that grow keep the total below its limit."""


class EventBuffers:
    """The buffers of one process, and the limit on their total size.

    Above the limit, buffers that may be evicted are emptied, oldest first. If that is not enough, a growing
    buffer drops its own oldest records. `name` makes the incarnations of their logs.
    """

    def __init__(self, *, buffer_bytes: int, total_bytes: int, name: Callable[[], str] = _name) -> None:
        self._name = name
        self._buffer_bytes = buffer_bytes
        self.total_bytes = total_bytes
        self._evictable: OrderedDict[EventBuffer, None] = OrderedDict()
        self.used_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether another buffer may be created."""
        return self.used_bytes < self.total_bytes * _FULL or bool(self._evictable)

    def create(self, incarnation: str = "") -> EventBuffer:
        """Creates an empty buffer of a log with this incarnation, by default of a new one."""
        return EventBuffer(self, self._buffer_bytes, incarnation or self._name())

    def grown(self, size: int) -> int:
        """Accounts for a buffer's growth. Returns the number of bytes that this buffer has to release."""
        self.used_bytes += size
        while self.used_bytes > self.total_bytes and self._evictable:
            self._evictable.popitem(last=False)[0].drop()
        return max(0, self.used_bytes - self.total_bytes)

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
    """Records of one generation, which subscriptions read. Above the size limit, the oldest are dropped.

    `incarnation` is the name of the generation's log, which no other log has.
    """

    __slots__ = (
        "_buffers",
        "_bytes",
        "_closed",
        "_dropped_tail",
        "_last",
        "_latest",
        "_listener",
        "_max_bytes",
        "_packed",
        "incarnation",
    )

    def __init__(self, buffers: EventBuffers, max_bytes: int, incarnation: str) -> None:
        self.incarnation = incarnation
        self._buffers = buffers
        self._max_bytes = max_bytes
        self._packed = PackedRecords()
        self._bytes = 0
        self._last = 0
        # The last record as it was appended: readers that keep up get it without unpacking.
        self._latest: Record | None = None
        self._dropped_tail = b""  # of the last record that was dropped
        self._listener: Callable[[], None] | None = None
        self._closed = False

    @property
    def first_sequence(self) -> int:
        """First sequence that is kept; `last_sequence` + 1 if none is."""
        return self._last - len(self._packed) + 1

    @property
    def last_sequence(self) -> int:
        """Last sequence; 0 before the first record."""
        return self._last

    @property
    def event_bytes(self) -> int:
        """Bytes of all records that were ever added."""
        return self._packed.dropped_bytes + len(self._packed.data)

    def append(self, records: Sequence[Record]) -> None:
        """Adds records and calls the listener once.

        Raises ValueError if the records do not follow the last one without a gap: subscriptions rely on that.
        """
        if records[0].sequence != self._last + 1:
            raise ValueError(f"record {records[0].sequence} cannot follow {self._last}")
        size = self._packed.extend(records)
        self._latest = latest = records[-1]
        self._last = latest.sequence
        self._bytes += size
        if self._bytes > self._max_bytes:
            size -= self._trim(self._max_bytes)
        excess = self._buffers.grown(size)
        if excess:
            self._buffers.shrunk(self._trim(max(size, self._bytes - excess)))
        if self._listener is not None:
            self._listener()

    def read(self, after: int, max_bytes: int) -> Message | None:
        """Returns the records after a sequence that make up one message; None if there are none.

        Raises ReplayExpired if the next record is no longer kept.
        """
        behind = self._last - after
        if behind <= 0:
            return None
        latest = self._latest
        if behind == 1 and latest is not None:
            return Message(latest.body + latest.tail, latest.sequence, latest.tail)
        position = self._position(after + 1)
        count, data = self._packed.message(position, max_bytes)
        return Message(data, after + count, self._packed.tail(position + count - 1))

    def records(self, after: int, max_bytes: int) -> Sequence[Record]:
        """Returns the same records as `read`, one by one."""
        position = self._position(after + 1)
        return self._packed.records(position, max_bytes, after + 1) if after < self._last else ()

    def tail(self, sequence: int) -> bytes:
        """Returns the tail of a record that is kept or was dropped last; empty for any other."""
        position = sequence - self.first_sequence
        if 0 <= position < len(self._packed):
            return self._packed.tail(position)
        return self._dropped_tail if position == -1 else b""

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Sets the function to call after each append; None removes it."""
        self._listener = listener

    def seal(self) -> None:
        """Frees what only further records would need. None may be appended after this."""
        self._listener = self._latest = None
        self._packed.seal()

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

    def _position(self, sequence: int) -> int:
        """Returns the position of a record. Raises ReplayExpired if it is no longer kept."""
        position = sequence - self.first_sequence
        if position < 0:
            raise ReplayExpired(
                f"the events after {sequence - 1} are no longer kept (the first kept is"
                f" {self.first_sequence}): start again under a new id"
            )
        return position

    def _trim(self, max_bytes: int) -> int:
        """Drops the oldest records until the rest has at most `max_bytes`. Returns the bytes freed."""
        packed = self._packed
        count = packed.overhang(max_bytes)
        if not count:
            return 0
        self._dropped_tail = packed.tail(count - 1)
        freed = packed.drop(count)
        self._bytes -= freed
        if not len(packed):
            self._latest = None
        return freed
