"""Records without an object for each: their bytes in one run, and one number per record."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.events import RecordKind
from tokengrpc.core.ports.log import JOINABLE, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK_BYTES = 8
"""Bytes of memory per record in addition to its data."""

# A mark has, from its lowest bit: the kind, the length of the tail, and the offset of the record's end in all
# data that was ever added.
_KINDS = tuple(RecordKind)
_KIND_BITS, _TAIL_BITS = 3, 13
_END = _KIND_BITS + _TAIL_BITS
_KIND_MASK, _TAIL_MASK = (1 << _KIND_BITS) - 1, (1 << _TAIL_BITS) - 1
_TOKENS, _TOKENS_CODE = RecordKind.TOKENS, _KINDS.index(RecordKind.TOKENS)

# Dropped marks are removed when they are so many, because each removal moves all others.
_STALE_MARKS = 1024


class PackedRecords(msgspec.Struct, gc=False):
    """Records with consecutive sequences, which are added at the end and dropped at the beginning.

    Positions count from 0 for the oldest record that is kept. The garbage collector does not track a
    PackedRecords, which refers to bytes only.
    """

    data: bytearray | bytes = msgspec.field(default_factory=bytearray)
    marks: array[int] = msgspec.field(default_factory=lambda: array("Q"))
    dropped_bytes: int = 0
    """Bytes of the records that are dropped."""
    stale_marks: int = 0
    """Marks of dropped records, before those of the others."""

    def __len__(self) -> int:
        return len(self.marks) - self.stale_marks

    @property
    def size(self) -> int:
        """Bytes of memory that the records take."""
        return len(self.data) + MARK_BYTES * len(self)

    def extend(self, records: Sequence[Record]) -> int:
        """Adds records. Returns by how many bytes the size has grown."""
        data, marks, base = self.data, self.marks, self.dropped_bytes
        before = len(data)
        for record in records:
            tail = record.tail
            data += record.body
            data += tail
            code = _TOKENS_CODE if record.kind is _TOKENS else _KINDS.index(record.kind)
            marks.append(base + len(data) << _END | len(tail) << _KIND_BITS | code)
        self.data = data
        return len(data) - before + MARK_BYTES * len(records)

    def drop(self, count: int) -> int:
        """Drops the oldest records. Returns by how many bytes the size has shrunk."""
        end = self._end(count - 1)
        if isinstance(self.data, bytes):
            self.data = self.data[end:]
        else:
            del self.data[:end]
        self.dropped_bytes += end
        self.stale_marks += count
        if self.stale_marks >= min(_STALE_MARKS, len(self.marks)):
            self.marks = self.marks[self.stale_marks :]
            self.stale_marks = 0
        return end + MARK_BYTES * count

    def seal(self) -> None:
        """Frees the memory that was reserved for more records. None may be added after this."""
        self.data = bytes(self.data)
        self.marks = self.marks[self.stale_marks :]
        self.stale_marks = 0

    def overhang(self, size: int) -> int:
        """Returns how many of the oldest records have to be dropped so that the rest is at most `size`."""
        count, excess = 0, self.size - size
        while excess > 0 and count < len(self):
            excess -= self._end(count) - self._end(count - 1) + MARK_BYTES
            count += 1
        return count

    def records(self, position: int, max_bytes: int, sequence: int) -> list[Record]:
        """Returns the records from a position on that may be sent as one message. See `joinable_run`.

        `sequence` is that of the first one.
        """
        count, _ = self.message(position, max_bytes)
        positions = range(position, position + count)
        return [
            Record(sequence + i - position, self._kind(i), self._body(i), self.tail(i)) for i in positions
        ]

    def message(self, position: int, max_bytes: int) -> tuple[int, bytes]:
        """Returns the same records as one message, and their number."""
        # One loop without calls: replays of long answers pass thousands of records through it.
        data, base = self.data, self.dropped_bytes
        code = self.marks[self.stale_marks + position] & _KIND_MASK
        start, size, tail = self._end(position - 1), 0, data[:0]
        parts: list[bytes | bytearray] = []
        for mark in self.marks[self.stale_marks + position :]:
            end = (mark >> _END) - base
            body_end = end - (mark >> _KIND_BITS & _TAIL_MASK)
            size += body_end - start
            if parts and (mark & _KIND_MASK != code or size > max_bytes):
                break
            parts.append(data[start:body_end])
            tail = data[body_end:end]
            start = end
            if _KINDS[code] not in JOINABLE:
                break
        return len(parts), b"".join((*parts, tail))

    def tail(self, position: int) -> bytes:
        """Returns the tail of a record."""
        end = self._end(position)
        return bytes(self.data[end - self._tail_size(position) : end])

    def _body(self, position: int) -> bytes:
        return bytes(self.data[self._end(position - 1) : self._end(position) - self._tail_size(position)])

    def _end(self, position: int) -> int:
        """Returns the offset of a record's end in `data`. The end of position -1 is the beginning."""
        if position < 0:
            return 0
        return (self.marks[self.stale_marks + position] >> _END) - self.dropped_bytes

    def _kind(self, position: int) -> RecordKind:
        return _KINDS[self.marks[self.stale_marks + position] & _KIND_MASK]

    def _tail_size(self, position: int) -> int:
        return self.marks[self.stale_marks + position] >> _KIND_BITS & _TAIL_MASK
