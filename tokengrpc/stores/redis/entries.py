"""Entries of a stream: records with their sequence and the epoch of their owner."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from tokengrpc.core.events import RecordKind
from tokengrpc.core.ports.log import LogRefused, Record
from tokengrpc.stores.redis.sealing import CHANGED

if TYPE_CHECKING:
    from tokengrpc.stores.redis.sealing import Sealer

RawEntry = tuple[bytes, list[bytes]]
"""An entry as the store returns it: id, then the name and the value of its only field."""

_TAIL_SIZE = struct.Struct(">I")


class Entry(NamedTuple):
    """An entry's id: SEQUENCE-EPOCH."""

    sequence: int
    epoch: int


class Entries:
    """Encodes records as values of entries, and decodes them. Bodies are sealed."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def encode(self, incarnation: str, record: Record) -> bytes:
        """Returns the value of an entry: the tail with its size, then the body."""
        body = self._sealer.seal(incarnation, _place(record.sequence, record.kind), record.body)
        return b"".join((_TAIL_SIZE.pack(len(record.tail)), record.tail, body))

    def decode(self, incarnation: str, entry: RawEntry) -> Record:
        """Returns the record of an entry. Raises LogRefused if it is not genuine, or cannot be decrypted."""
        sequence = entry_id(entry).sequence
        try:
            field, value = entry[1]
            kind = RecordKind(field.decode())
            end = _TAIL_SIZE.size + _TAIL_SIZE.unpack_from(value)[0]
        except (ValueError, struct.error):
            raise LogRefused(CHANGED) from None
        if end > len(value):
            raise LogRefused(CHANGED)
        body = self._sealer.open(incarnation, _place(sequence, kind), value[end:])
        return Record(sequence, kind, body, value[_TAIL_SIZE.size : end])


def entry_id(entry: RawEntry) -> Entry:
    """Returns the id of an entry."""
    sequence, _, epoch = entry[0].partition(b"-")
    return Entry(int(sequence), int(epoch))


def _place(sequence: int, kind: RecordKind) -> bytes:
    return b"%d %s" % (sequence, kind.encode())
