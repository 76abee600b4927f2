"""Reads and follows logs, and checks that nothing is missing between records."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tokengrpc.core.events import RecordKind
from tokengrpc.core.ports.log import joinable_run
from tokengrpc.errors import GenerationNotFound, LogDiverged, ReplayExpired
from tokengrpc.stores.redis.entries import entry_id
from tokengrpc.stores.redis.reading.followed import Follower
from tokengrpc.stores.redis.replies import Read, shaped, text
from tokengrpc.stores.redis.servers.scripts import Script

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import Record
    from tokengrpc.stores.redis.connections import Connections
    from tokengrpc.stores.redis.entries import Entries, RawEntry
    from tokengrpc.stores.redis.keys import KeyNames

_PAGE = 256
"""Most records that are read at once."""


class _Page(NamedTuple):
    incarnation: str
    entries: Sequence[RawEntry]


class _Position(NamedTuple):
    """What a reader has. `record` is the last one, of an owner with `epoch`; None before the first."""

    after: int
    record: Record | None = None
    epoch: int = 0


class LogReader:
    """Reads logs. A follower without records for `check_interval` seconds checks that its log exists."""

    def __init__(
        self, connections: Connections, names: KeyNames, entries: Entries, check_interval: float
    ) -> None:
        self._connections = connections
        self._names = names
        self._entries = entries
        self._check_interval = check_interval

    async def read(self, key: GenerationKey, after: int, max_bytes: int) -> Sequence[Record]:
        """See `EventSink.read`."""
        page = await self._page(key, after)
        records = [self._entries.decode(page.incarnation, entry) for entry in page.entries]
        return joinable_run(records, max_bytes) if records else ()

    async def follow(self, key: GenerationKey, after: int) -> AsyncGenerator[Sequence[Record], None]:
        """See `EventSink.follow`."""
        page = await self._page(key, after)
        incarnation, position = page.incarnation, _Position(after)
        while page.entries:
            records, position = await self._next(key, incarnation, position, page.entries)
            yield records
            if records[-1].kind is RecordKind.FINISHED:
                return
            page = await self._page(key, position.after, incarnation)
        follower = Follower(self._names.stream(key, incarnation), position.after)
        reader = self._connections.reader
        reader.add(follower)
        try:
            while True:
                entries = await follower.take(self._check_interval)
                if not entries or entry_id(entries[0]).sequence != position.after + 1:
                    entries = (await self._page(key, position.after, incarnation)).entries
                if not entries:
                    continue
                records, position = await self._next(key, incarnation, position, entries)
                follower.skip(position.after)
                yield records
                if records[-1].kind is RecordKind.FINISHED:
                    return
        finally:
            reader.remove(follower)

    async def _next(
        self, key: GenerationKey, incarnation: str, position: _Position, entries: Sequence[RawEntry]
    ) -> tuple[Sequence[Record], _Position]:
        """Decodes entries that follow a position. Raises LogDiverged if their owner has not read up to it."""
        epochs = [position.epoch, *(entry_id(entry).epoch for entry in entries)]
        if position.record is not None and epochs[1] != epochs[0]:
            await self._check_same(key, incarnation, position.record)
        records = [self._entries.decode(incarnation, entry) for entry in entries]
        return records, _Position(records[-1].sequence, records[-1], epochs[-1])

    async def _check_same(self, key: GenerationKey, incarnation: str, record: Record) -> None:
        """Checks that a record is still the one in the log, after another owner has taken over.

        A failover may have lost it, together with the owner that could have written it again.
        """
        try:
            entries = (await self._page(key, record.sequence - 1, incarnation)).entries
        except ReplayExpired:
            return
        if not entries or self._entries.decode(incarnation, entries[0]) != record:
            raise LogDiverged("the store lost events that you have received: discard them, and start again")

    async def _page(self, key: GenerationKey, after: int, incarnation: str = "") -> _Page:
        """Reads the records after a sequence, of the log with this incarnation or of any."""
        name = self._names.log(key)
        reply = await self._connections.commands.run(Script.READ, name, after, _PAGE)
        if reply is None:
            raise GenerationNotFound(f"there is no log of generation {key.generation_id[:128]!r}")
        found = shaped(Read, reply)
        name = text(found.incarnation)
        if incarnation and name != incarnation:
            raise GenerationNotFound(f"generation {key.generation_id[:128]!r} was started anew since")
        first = entry_id(found.entries[0]).sequence if found.entries else found.last + 1
        if first > after + 1:
            raise ReplayExpired(f"the events after {after} are no longer kept: start again under a new id")
        return _Page(name, found.entries)
