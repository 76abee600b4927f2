"""Streams that are followed, and what readers take from them: a shared read serves all followers."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from tokengrpc.stores.redis.entries import entry_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tokengrpc.stores.redis.entries import RawEntry

_MAX_PENDING_BYTES = 1 << 20
"""Entries that a follower has not taken yet. Above this size, its stream is not read for it."""


class Follower:
    """One follower of a stream: has all entries up to `after`, and takes the later ones.

    `on_room` is called when a full follower has taken its entries.
    """

    def __init__(self, stream: str, after: int) -> None:
        self.stream = stream
        self.after = after
        self.on_room: Callable[[], None] = _ignore
        self._pending: deque[RawEntry] = deque()
        self._pending_bytes = 0
        self._arrived = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether the follower has to take entries before more are read for it."""
        return self._pending_bytes > _MAX_PENDING_BYTES

    def give(self, entries: Iterable[RawEntry]) -> None:
        """Adds the entries that follow the last one; earlier ones are dropped."""
        for entry in entries:
            sequence = entry_id(entry).sequence
            if sequence > self.after:
                self.after = sequence
                self._pending.append(entry)
                self._pending_bytes += len(entry[1][1])
        if self._pending:
            self._arrived.set()

    def skip(self, sequence: int) -> None:
        """Forgets entries up to a sequence, because the follower has read them by itself."""
        self.after = max(self.after, sequence)
        while self._pending and entry_id(self._pending[0]).sequence <= sequence:
            self._pending_bytes -= len(self._pending.popleft()[1][1])

    async def take(self, timeout: float) -> Sequence[RawEntry]:
        """Returns the entries that have arrived; none after `timeout` seconds without any."""
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError:
            return ()
        self._arrived.clear()
        was_full, entries = self.full, tuple(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        if was_full:
            self.on_room()
        return entries


def _ignore() -> None:
    """Does nothing."""


class Followers:
    """All followers of a replica, by stream. `changed` is set when a read has to begin anew."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._by_stream: dict[str, list[Follower]] = {}

    def add(self, follower: Follower) -> None:
        """Adds a follower."""
        follower.on_room = self.changed.set
        self._by_stream.setdefault(follower.stream, []).append(follower)
        self.changed.set()

    def remove(self, follower: Follower) -> None:
        """Removes a follower."""
        left = self._by_stream[follower.stream]
        left.remove(follower)
        if not left:
            del self._by_stream[follower.stream]
        self.changed.set()

    def positions(self) -> Mapping[str, int]:
        """Returns the streams to read, each with the sequence after which. Full followers are left out."""
        positions: dict[str, int] = {}
        for stream, followers in self._by_stream.items():
            afters = [follower.after for follower in followers if not follower.full]
            if afters:
                positions[stream] = min(afters)
        return positions

    def give(self, stream: str, entries: Iterable[RawEntry]) -> None:
        """Gives entries to all followers of a stream."""
        for follower in self._by_stream.get(stream, ()):
            if not follower.full:
                follower.give(entries)
