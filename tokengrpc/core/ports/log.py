"""The port of event logs: the encoded events of a generation, in order, which many readers can read."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

import msgspec

from tokengrpc.core.events import RecordKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from tokengrpc.core.events import Event
    from tokengrpc.core.model import Durability, GenerationKey, State

JOINABLE = frozenset({RecordKind.TOKENS, RecordKind.FRAGMENTS})
"""Kinds of records of which several may be sent as one message."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """Encoded event: the concatenation of `body` and `tail` is one message.

    The bodies of several records, followed by the last record's tail, are one message as well.
    """

    sequence: int
    kind: RecordKind
    body: bytes
    tail: bytes


def joinable_run(records: Iterable[Record], max_bytes: int) -> list[Record]:
    """Returns the first records that may be sent as one message: of one joinable kind, up to `max_bytes`.

    Always returns at least one record. Raises StopIteration for no records.
    """
    iterator = iter(records)
    first = next(iterator)
    run = [first]
    if first.kind not in JOINABLE:
        return run
    size = len(first.body)
    for record in iterator:
        size += len(record.body)
        if record.kind is not first.kind or size > max_bytes:
            break
        run.append(record)
    return run


class Recorder(Protocol):
    """Encodes the events of one generation. Each tail has the checksum of all output up to its record."""

    def records(self, events: Sequence[Event]) -> Sequence[Record]:
        """Encodes the next events of the generation."""


class EventEncoder(Protocol):
    """Encodes events as records, and notices as message bodies."""

    def recorder(self, last_tail: bytes = b"") -> Recorder:
        """Returns the recorder of a generation whose last record has this tail; empty for none."""

    def checksum(self, record_tail: bytes) -> int | None:
        """Returns the checksum of all output up to the record with this tail; None before any output."""

    def notice(self, record_tail: bytes, notice: bytes) -> bytes:
        """Returns the message of a notice that follows the record with this tail; empty for none."""

    def attached(self, state: State, last_sequence: int, log_incarnation: str) -> bytes:
        """Encodes the notice that a stream has attached."""

    def heartbeat(self, state: State) -> bytes:
        """Encodes the notice that the generation is still running."""

    def drain_notice(self, deadline_ns: int) -> bytes:
        """Encodes the notice that the server is shutting down."""


class AppendStatus(Enum):
    """Status of an append; see `EventSink.append`."""

    OK = "ok"
    REPEATED = "repeated"
    FENCED = "fenced"
    HOLE = "hole"
    CANCEL_REQUESTED = "cancel requested"


class AppendOutcome(msgspec.Struct, frozen=True):
    """Result of an append. `last` is the log's last sequence, 0 for an empty log."""

    status: AppendStatus
    last: int


class LogClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a claim to append to a generation's log.

    `owned` says whether the claim succeeded. If not, `epoch` and `owner` describe the current owner.
    `fingerprint` is that of the request for which the log was created, `incarnation` the log's name.
    """

    owned: bool
    epoch: int
    owner: str
    fingerprint: bytes
    incarnation: str


class EventSink(Protocol):
    """A store of event logs that outlives the process or is shared by replicas.

    Every call may raise StoreUnavailable. Callers bound each call in time and may repeat it. An append is
    durable, to the grade `durability`, when it returns OK, REPEATED or CANCEL_REQUESTED; readers see a record
    only after that.
    """

    @property
    def durability(self) -> Durability:
        """What holds for records once an append has returned. Callers are told."""

    async def start(self) -> None:
        """Connects. Called once, before any other call."""

    async def close(self) -> None:
        """Releases all connections. Called once, after all other calls."""

    async def claim(
        self, key: GenerationKey, fingerprint: bytes, request: bytes, incarnation: str
    ) -> LogClaim:
        """Creates the log of a generation and claims it for this replica, unless another replica owns it.

        If this replica owns the log already, the log is emptied and gets the next epoch and this incarnation:
        the process has forgotten the generation and starts another one with the same id. A repeated claim
        with the log's own incarnation does the same. `request` is kept with the log, for a replica that has
        to continue the generation.
        """

    async def append(self, key: GenerationKey, epoch: int, records: Sequence[Record]) -> AppendOutcome:
        """Appends records that follow the log's last record without a gap.

        | Outcome | When | Appended |
        |---|---|---|
        | OK | the records follow the last one | yes |
        | REPEATED | the same owner appended these records before | yes, before |
        | FENCED | another epoch owns the log | no |
        | HOLE | records between the log's last one and the first given one are missing | no |
        | CANCEL_REQUESTED | as for OK, and `publish_cancel` was called | yes |
        """

    async def read(self, key: GenerationKey, after: int, max_bytes: int) -> Sequence[Record]:
        """Returns the records after a sequence, at least one if there is one.

        Raises ReplayExpired if the next record is no longer kept, GenerationNotFound for an unknown log.
        """

    def follow(self, key: GenerationKey, after: int) -> AsyncGenerator[Sequence[Record], None]:
        """Yields the records after a sequence as they are appended; ends after the FINISHED record.

        Raises ReplayExpired if the next record is no longer kept, GenerationNotFound for an unknown log.
        """

    async def publish_cancel(self, key: GenerationKey) -> None:
        """Asks the owner of a generation to cancel it."""

    async def count_subscribers(self, key: GenerationKey, replica: str, count: int) -> int:
        """Sets the number of this replica's subscribers; returns the number over all replicas."""
