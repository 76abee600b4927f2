"""Event logs: encoded events, numbered, kept for every reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.events import Event, RecordKind
    from tokengrpc.core.model import State


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event, already encoded: the concatenation of `body` and `tail` is one message.

    Bodies of several records followed by the last one's tail are one message as well.
    """

    sequence: int
    kind: RecordKind
    body: bytes
    tail: bytes


class EventLog(Protocol):
    """The events of one generation. Readers see an event only once `append` has it."""

    @property
    def first_sequence(self) -> int:
        """The first record that is kept; one more than `last_sequence` when none is."""

    @property
    def last_sequence(self) -> int:
        """The last record; 0 before the first."""

    async def append(self, records: Sequence[Record]) -> None:
        """Adds records with the next sequences and calls the listeners once.

        Raises ValueError when they do not follow the last record without a gap.
        """

    def read(self, after: int, max_bytes: int) -> Sequence[Record]:
        """The records after a sequence, of one joinable run, at least one where there is one.

        Raises ReplayExpired when the next one is no longer kept.
        """

    def tail(self, sequence: int) -> bytes:
        """The tail of a record that is kept or was the last to be dropped; empty where neither."""

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` after each append, until the returned function is called."""

    def allow_eviction(self) -> None:
        """Nothing more will be appended, and nobody reads it: it may be dropped when memory is short."""

    def forbid_eviction(self) -> None:
        """Somebody reads it again."""

    def close(self) -> None:
        """Forgets everything."""


class EventLogs(Protocol):
    """Makes event logs and bounds their bytes in total."""

    @property
    def has_room(self) -> bool:
        """Whether another log may be made."""

    def create(self) -> EventLog:
        """A new, empty log."""


class EventEncoder(Protocol):
    """Makes records of events and messages of notices. A notice is a body: the cursor's tail precedes it."""

    def records(self, events: Sequence[Event]) -> Sequence[Record]:
        """The records of a generation's new events."""

    def attached(self, state: State, last_sequence: int) -> bytes:
        """The notice that a stream attached."""

    def heartbeat(self, state: State) -> bytes:
        """The notice that all is well."""

    def drain_notice(self, deadline_ns: int) -> bytes:
        """The notice that the server shuts down."""
