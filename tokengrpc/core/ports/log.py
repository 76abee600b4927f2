"""The port of event logs: the encoded events of a generation, in order, which many readers can read."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

import msgspec

from tokengrpc.core.events import RecordKind
from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from tokengrpc.core.events import Event
    from tokengrpc.core.model import Durability, GenerationKey, State
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.snapshot import GenerationSnapshot

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
    """Encodes events as records, and notices as message bodies. Decodes what other servers have written."""

    def recorder(self, last_tail: bytes = b"") -> Recorder:
        """Returns the recorder of a generation whose last record has this tail; empty for none."""

    def checksum(self, record_tail: bytes) -> int | None:
        """Returns the checksum of all output up to the record with this tail; None before any output."""

    def after_record(self, snapshot: GenerationSnapshot, record: Record) -> GenerationSnapshot:
        """Returns the state of a generation after a record, from the state before it."""

    def event(self, record: Record) -> Event:
        """Returns the event of a record that is neither STARTED nor FINISHED, without its snapshot."""

    def request(self, encoded: bytes) -> GenerationRequest:
        """Returns the request of these bytes: those in `GenerationRequest.encoded`.

        Raises InvalidRequest if this version of the server does not accept it.
        """

    def notice(self, record_tail: bytes, notice: bytes) -> bytes:
        """Returns the message of a notice that follows the record with this tail; empty for none."""

    def attached(self, state: State, last_sequence: int, log_incarnation: str) -> bytes:
        """Encodes the notice that a stream has attached."""

    def heartbeat(self, state: State, queue_position: int = 0) -> bytes:
        """Encodes the notice that the generation is still running, or waits at a position of its queue."""

    def drain_notice(self, deadline_ns: int) -> bytes:
        """Encodes the notice that the server is shutting down."""


class AppendStatus(Enum):
    """Status of an append; see `EventSink.append`."""

    OK = "ok"
    REPEATED = "repeated"
    FENCED = "fenced"
    HOLE = "hole"
    CANCEL_REQUESTED = "cancel requested"
    UNKNOWN = "unknown"


class AppendOutcome(msgspec.Struct, frozen=True):
    """Result of an append. `last` is the log's last sequence, 0 for an empty or unknown log."""

    status: AppendStatus
    last: int


class LogClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a claim to append to a generation's log.

    `owned` says whether the claim succeeded. If not, `epoch` and `owner` describe the current owner; `owner`
    is empty if the log was released. `fingerprint` is that of the request for which the log was created,
    `incarnation` the log's name.
    """

    owned: bool
    epoch: int
    owner: str
    fingerprint: bytes
    incarnation: str


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """A log as the store describes it. `request` and `fingerprint` are those of the claim that created it.

    `owner` is empty if the log was released. `lease_left` is in seconds, and 0 if the lease has ended or the
    log was released. `last` is the last sequence, 0 for an empty log. `ended` says whether the last record is
    FINISHED, `cancel_requested` whether `publish_cancel` was called, `subscribers` counts those of all
    replicas.
    """

    owner: str
    epoch: int
    lease_left: float
    fingerprint: bytes
    incarnation: str
    request: bytes
    last: int
    ended: bool
    cancel_requested: bool
    subscribers: int

    @property
    def orphaned(self) -> bool:
        """Whether another replica may take over."""
        return not self.ended and not self.lease_left


class LeaseStatus(Enum):
    """Status of a lease after its renewal; see `EventSink.renew`."""

    HELD = "held"
    CANCEL_REQUESTED = "cancel requested"
    FENCED = "fenced"
    UNKNOWN = "unknown"


class Lease(msgspec.Struct, frozen=True):
    """Result of a renewal. `subscribers` counts those of all replicas; 0 for an unknown log."""

    status: LeaseStatus
    subscribers: int


class TakeoverStatus(Enum):
    """Status of a takeover; see `EventSink.take_over`."""

    TAKEN = "taken"
    HELD = "held"
    MOVED = "moved"
    ENDED = "ended"
    UNKNOWN = "unknown"


class Takeover(msgspec.Struct, frozen=True):
    """Result of a takeover. `epoch`, `owner` and `last` (sequence) are those of the log after the call."""

    status: TakeoverStatus
    epoch: int = 0
    owner: str = ""
    last: int = 0


class LogRefused(StoreUnavailable):
    """Log that this replica cannot use, for example for want of its key. The store is not away."""


class EventSink(Protocol):
    """A store of event logs that outlives the process or is shared by replicas.

    Every call may raise StoreUnavailable. Callers bound each call in time and may repeat it: a repeated call
    has the same result. A claim, a takeover or an append is durable, to the grade `durability`, when it has
    returned; readers see a record only after that.

    A log has one owner: a replica with an epoch and a lease. The lease says when another replica may take
    over; the epoch says who owns the log. Both are compared in the store, with each append, renewal and
    release, so an old owner changes nothing, however late its calls arrive. An owner renews its leases about
    four times per `lease`; appends renew them as well. A log that has no owner any more is kept for a time
    that the store's settings define (an hour by default), for a replica that takes over.
    """

    @property
    def durability(self) -> Durability:
        """What holds for records once an append has returned. Callers are told."""

    @property
    def replica(self) -> str:
        """Name of this replica as the owner of logs. No other process has it, before or after this one."""

    @property
    def lease(self) -> float:
        """Time in seconds from the last renewal until another replica may take over."""

    async def start(self) -> None:
        """Connects. Called before any other call, and again after it has raised StoreUnavailable."""

    async def close(self) -> None:
        """Releases all connections. Called once, after all other calls."""

    async def check(self) -> None:
        """Raises StoreUnavailable if the store would not take appends now, to the grade `durability`."""

    async def claim(
        self, key: GenerationKey, fingerprint: bytes, request: bytes, incarnation: str
    ) -> LogClaim:
        """Creates the log of a generation and claims it for this replica, unless there is a log already.

        `request` is kept with the log, for a replica that has to continue the generation. The first row that
        applies counts:

        | When | Owned | The log |
        |---|---|---|
        | there is no log | yes | is created, with this incarnation |
        | another replica owns it, or it was released | no | stays, even if its lease has ended |
        | this replica owns it, with this incarnation | yes | stays: the call was repeated |
        | this replica owns it, with another one | yes | is emptied, with this one and the next epoch |

        In the last case, the process has forgotten a generation and starts another one with its id. Logs of
        other replicas: see `take_over`.
        """

    async def append(self, key: GenerationKey, epoch: int, records: Sequence[Record]) -> AppendOutcome:
        """Appends records that follow the log's last record without a gap. Renews the lease unless FENCED.

        The first row that applies counts:

        | Outcome | When | Appended |
        |---|---|---|
        | FENCED | a later owner has ended the generation, also if its log has expired meanwhile | no |
        | UNKNOWN | there is no log: it has expired, or a failover lost it | no |
        | FENCED | another owner or epoch owns the log, or it was released | no |
        | HOLE | records between the log's last one and the first given one are missing | no |
        | REPEATED | the same owner appended these records before | yes, before |
        | CANCEL_REQUESTED | as for OK, and `publish_cancel` was called | yes |
        | OK | the records follow the last one | yes |

        After UNKNOWN, the owner may `claim` the log again with its incarnation, and append all records.
        """

    async def read(self, key: GenerationKey, after: int, max_bytes: int) -> Sequence[Record]:
        """Returns the records after a sequence, at least one if there is one.

        Raises ReplayExpired if the next record is no longer kept, GenerationNotFound for an unknown log.
        """

    def follow(self, key: GenerationKey, after: int) -> AsyncGenerator[Sequence[Record], None]:
        """Yields the records after a sequence as they are appended; ends after the FINISHED record.

        Records arrive without a gap, also when the log's owner changes. Raises ReplayExpired if the next
        record is no longer kept, GenerationNotFound for an unknown log and for one that has expired or was
        made anew since, LogDiverged if the log lost records that were yielded and its next owner has appended
        others. An owner that dies is not noticed here: see `describe`.
        """

    async def describe(self, key: GenerationKey) -> LogState | None:
        """Returns the state of a log; None if there is none."""

    async def renew(self, epochs: Mapping[GenerationKey, int]) -> Mapping[GenerationKey, Lease]:
        """Renews the leases of logs that this replica owns, each with its epoch.

        Returns the state of each. The first row that applies counts:

        | Status | When | Renewed |
        |---|---|---|
        | FENCED | a later owner has ended the generation, also if its log has expired meanwhile | no |
        | UNKNOWN | there is no log: it has expired, or a failover lost it | no |
        | FENCED | another owner or epoch owns the log, or it was released | no |
        | CANCEL_REQUESTED | as for HELD, and `publish_cancel` was called | yes |
        | HELD | this replica owns the log | yes, even if the lease had ended |
        """

    async def take_over(self, key: GenerationKey, epoch: int) -> Takeover:
        """Makes this replica the owner, with the next epoch, if the lease of the given epoch has ended.

        Log, request and incarnation stay; the old owner is fenced. The first row that applies counts:

        | Status | When | Owner afterwards |
        |---|---|---|
        | UNKNOWN | there is no log | none |
        | ENDED | the last record is FINISHED | the same |
        | TAKEN | this call, repeated, was successful before | this replica, with epoch + 1 |
        | MOVED | the log has another epoch: another replica was faster | the same |
        | HELD | the lease has not ended | the same |
        | TAKEN | the lease has ended, or the log was released | this replica, with epoch + 1 |
        """

    async def release(self, epochs: Mapping[GenerationKey, int]) -> None:
        """Gives up logs that this replica owns, each with its epoch, so that others may take over at once.

        Appends with these epochs are FENCED from now on. Logs that it does not own stay as they are.
        """

    async def retain(self, key: GenerationKey, epoch: int, ttl: float) -> None:
        """Keeps a log whose generation has ended for `ttl` seconds from now; with 0, deletes it.

        The owner's last call for this log. No effect on a log that this replica does not own. If the log had
        another owner before, that one stays fenced for as long as a log without an owner is kept.
        """

    async def orphans(self, limit: int) -> Sequence[GenerationKey]:
        """Returns up to `limit` keys of running generations whose lease has ended or that were released.

        Longest first. A hint: `take_over` decides.
        """

    async def publish_cancel(self, key: GenerationKey) -> None:
        """Asks the owner of a generation to cancel it. Also future owners learn it. Not for unknown logs.

        Raises GenerationNotFound for an unknown log.
        """

    def cancels(self) -> AsyncGenerator[GenerationKey, None]:
        """Yields the keys of generations of this replica as soon as `publish_cancel` is called for them.

        Never ends by itself. A message may be lost, or refer to a generation that this replica has given up:
        `append` and `renew` report each cancel reliably. One consumer at a time.
        """

    async def count_subscribers(self, counts: Mapping[GenerationKey, int]) -> Mapping[GenerationKey, int]:
        """Sets the numbers of this replica's subscribers; returns the numbers over all replicas.

        A replica's number counts as 0 when it has not been set for three leases. 0 for unknown logs.
        """
