"""Event writers: move the records of a generation into its buffer, through the event sink if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.ports.log import Record
    from tokengrpc.errors import StoreUnavailable
    from tokengrpc.generations.buffer import EventBuffer


class EventWriter(Protocol):
    """Takes records in order. Readers see a record once it is in the buffer."""

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record that was written, whether or not readers can see it yet."""

    @property
    def epoch(self) -> int:
        """Epoch in which this server owns the log; 0 without a sink, and while events are in memory only."""

    @property
    def fenced(self) -> bool:
        """Whether nothing is written any more: another server owns the log, or the store stays away."""

    @property
    def farewell(self) -> str:
        """What readers are told if it is fenced."""

    @property
    def full(self) -> bool:
        """Whether there are too many unacknowledged records: wait for room before the next write."""

    def write(self, records: Sequence[Record]) -> None:
        """Takes records. Never waits."""

    async def wait_for_room(self) -> None:
        """Returns when the writer is no longer full."""

    async def flush(self) -> StoreUnavailable | None:
        """Waits until readers can see all records. Returns the error if that is no longer possible."""

    def abandon(self) -> None:
        """Drops records that readers cannot see yet. Further ones are shown at once, and logged later."""

    def fence(self) -> None:
        """Notes that another server owns the log. Nothing is written any more."""

    def contest(self) -> None:
        """Does so if another server does own the log, and takes it again if the store forgot its owner."""

    def restore(self) -> None:
        """Writes the log again, because the store has lost it."""

    async def retain(self, ttl: float) -> None:
        """Keeps the log for `ttl` seconds, or deletes it with 0. What it lacks is written later."""


class BufferWriter:
    """Writer without a sink: readers see a record at once."""

    full = fenced = False
    epoch = 0
    farewell = ""

    def __init__(self, buffer: EventBuffer) -> None:
        self.write = buffer.append
        self._buffer = buffer

    @property
    def last_sequence(self) -> int:
        """See `EventWriter`."""
        return self._buffer.last_sequence

    async def wait_for_room(self) -> None:
        """See `EventWriter`."""

    async def flush(self) -> None:
        """See `EventWriter`."""

    def abandon(self) -> None:
        """See `EventWriter`."""

    def fence(self) -> None:
        """See `EventWriter`."""

    def contest(self) -> None:
        """See `EventWriter`."""

    def restore(self) -> None:
        """See `EventWriter`."""

    async def retain(self, ttl: float) -> None:
        """See `EventWriter`."""
