"""The seams of the house: what the core needs, and what engines, stores and observers provide."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from tokengrpc.events import Event
    from tokengrpc.generation import Generation
    from tokengrpc.model import Capability, Delta, FinishReason, State, Usage, UsageReport
    from tokengrpc.request import GenerationRequest, Message, Tool


class Clock(Protocol):
    """One clock for everything."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch; never goes back within a process."""


class Tokenizer(Protocol):
    """Counts text of a model. Calls take time in proportion to the text: long ones belong off the loop."""

    @property
    def name(self) -> str:
        """Such as `o200k_base`."""

    @property
    def exact(self) -> bool:
        """Whether it is the model's own, so that its counts are the model's."""

    def count(self, text: str) -> int:
        """Tokens of a text."""

    def count_input(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        """Tokens of a conversation and its tools, the chat template's own included as far as known."""


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """What was generated before, to go on from.

    With `token_ids` None an engine goes on right after `text`, a prefill of the answer. Otherwise after
    `token_ids`, which are all that was generated; `text` is the answer in them as far as it was whole. Where
    the ids end within a character, an engine that tells `raw` tells the rest of its bytes, one that tells
    text the whole character. `prompt_token_ids` is the input as the engine before tokenized it, where known.

    The request's `max_output_token_count` is what is left for the rest. Usage is this engine's own: all that
    it read is input, what it adds is output.
    """

    token_ids: tuple[int, ...] | None
    text: str
    prompt_token_ids: tuple[int, ...] | None = None


@runtime_checkable
class Checkable(Protocol):
    """An engine that can be asked how it is."""

    async def check(self) -> None:
        """A cheap question, such as a GET of its models. Raises EngineError when it does not go well."""


class Engine(Protocol):
    """Runs a model. It may be `Checkable`."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def kind(self) -> str:
        """What it speaks, such as `openai`."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What requests may ask of it. Requests that ask for more never reach it."""

    async def start(self) -> None:
        """Loads what it needs. Called once, before any request."""

    async def close(self) -> None:
        """Releases what it holds. Called once, after the last request."""

    def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request; its consumer closes it (`aclosing`), which must stop the engine at once.

        With `continue_from`, goes on from what another engine generated for the request; UnsupportedFeature
        where it cannot.

        The first batch is empty and says that the engine has accepted the request. Each further one holds
        all deltas that one network read brought. The last delta has `finish`, and nothing follows it.

        Raises only errors of `errors.py`. An end without the dialect's own end mark is EngineTruncated,
        never a finish.
        """

    @property
    def healthy(self) -> bool | None:
        """How the last contact went; None when there was none."""


SILENT = "the engine was silent for too long"
"""The message of the cancellation that gives an engine up for its silence: its usage is not waited for."""


class LateUsage(Protocol):
    """Takes what an engine told of a generation that had been closed before: its final usage."""

    async def __call__(self, record_id: str, usage: UsageReport) -> None:
        """`record_id` is the request's: the key in the ledger."""


@runtime_checkable
class TellsLateUsage(Protocol):
    """An engine that may read on when a generation was closed, for its usage alone."""

    def on_late_usage(self, report: LateUsage) -> None:
        """What to call then. Called once, before `start`."""


class RecordKind(StrEnum):
    """What a record of the log holds; consecutive ones of a kind that joins may go out as one message."""

    TOKENS = "TOKENS"
    FRAGMENTS = "FRAGMENTS"
    EVENT = "EVENT"
    FINISHED = "FINISHED"


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

    def seal(self) -> None:
        """Nothing more will be appended, and nobody reads it: it may be dropped when memory is short."""

    def unseal(self) -> None:
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

    def records(self, generation: Generation, events: Sequence[Event]) -> Sequence[Record]:
        """The records of a generation's new events."""

    def attached(self, state: State, last_sequence: int) -> bytes:
        """The notice that a stream attached."""

    def heartbeat(self, state: State) -> bytes:
        """The notice that all is well."""

    def drain_notice(self, deadline_ns: int) -> bytes:
        """The notice that the server shuts down."""


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A generation as the ledger sees it. Times are nanoseconds since the epoch.

    `usage` is the bill. `settled_usage` is what the engine told after the generation was cut short. `engines`
    are those that it was sent to, in order.
    """

    record_id: str
    generation_id: str
    tenant: str
    model: str
    labels: dict[str, str]
    create_time_ns: int
    usage: Usage
    end_time_ns: int | None = None
    finish_reason: FinishReason | None = None
    error_reason: str = ""
    engines: tuple[str, ...] = ()
    settled_usage: UsageReport | None = None


class UsageLedger(Protocol):
    """Who used what. Durable when `close` returns."""

    async def open(self, entry: LedgerEntry) -> None:
        """Adds an entry whose generation was accepted."""

    async def close(self, entry: LedgerEntry) -> None:
        """Replaces it by its final form. Called exactly once per opened entry."""

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """Puts what the engine told late beside the bill, as `settled_usage`. May come before `close`."""


class Observer(Protocol):
    """Is told what happens. Must not block or raise."""

    def generation_ended(self, entry: LedgerEntry) -> None:
        """A generation has ended; `started` or not."""
