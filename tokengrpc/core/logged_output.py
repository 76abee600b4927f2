"""What the log of a generation says, for a server that goes on where another one has stopped. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from tokengrpc.core.attempts import Attempts
from tokengrpc.core.continuation import ContinuationState
from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import Delta
from tokengrpc.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.events import Event
    from tokengrpc.core.model import Token
    from tokengrpc.core.ports.log import EventEncoder, Record
    from tokengrpc.core.snapshot import GenerationSnapshot

OF_SERVERS = frozenset({Reason.SERVER_LOST, Reason.DRAINING})
"""Reasons of a switch of engines of which a server was the cause, not an engine."""


class LoggedOutput:
    """State of a generation after the records of its log, and the output from which it can be continued.

    `time_ns` is when the last token was received, `tail` that of the last record, `switches` the number of
    switches so far that count for the request's limit.
    """

    def __init__(self, snapshot: GenerationSnapshot, encoder: EventEncoder, *, omits_reasoning: bool) -> None:
        """Takes the state before the first record. `omits_reasoning` if records have no reasoning text."""
        self._known = snapshot
        self.token_count = 0
        self.time_ns = 0
        self.tail = b""
        self.switches = 0
        self.continuation = ContinuationState()
        self._encoder = encoder
        self._omits_reasoning = omits_reasoning
        self._attempts = Attempts(snapshot.server)

    @property
    def snapshot(self) -> GenerationSnapshot:
        """The state. Of the attempts, the last one has not ended; those without output are not in the log."""
        return structs.replace(self._known, attempts=self._attempts.at(self._known.usage.output))

    @property
    def has_output(self) -> bool:
        """Whether readers have any output."""
        return bool(self._known.timestamps.first_token)

    def take(self, records: Sequence[Record]) -> None:
        """Takes the next records."""
        for record in records:
            self._known = self._encoder.after_record(self._known, record)
            self.tail = record.tail
            if record.kind is RecordKind.STARTED:
                self._attempts.begin(self._known.engine, self._known.timestamps.started)
            elif record.kind is not RecordKind.FINISHED:
                self._take(self._encoder.event(record))

    def _take(self, event: Event) -> None:
        self.time_ns = max(self.time_ns, event.time_ns)
        switch = event.switch
        if switch is not None:
            self._attempts.end(event.usage.output, self.time_ns, switch.reason)
            if switch.reason in OF_SERVERS:
                self._attempts = self._attempts.on("")  # the log does not name the servers that went on
            self._attempts.begin(switch.to_engine, self.time_ns)
            self.continuation.continued(switch.method)
            self.switches += switch.counts
        self.token_count += sum(token.count for token in event.tokens)
        deltas = [self._delta(token) for token in event.tokens]
        if event.fragments:
            deltas.append(Delta(count=0, fragments=tuple(event.fragments)))
        self.continuation.take(deltas, [event])

    def _delta(self, token: Token) -> Delta:
        # Of a token whose text was withheld, either as reasoning or as part of a character, assume the worse.
        hidden = self._omits_reasoning and token.count and not (token.text or token.refusal)
        return Delta(
            text=token.text,
            reasoning=token.reasoning or ("\N{HORIZONTAL ELLIPSIS}" if hidden else ""),
            refusal=token.refusal,
            count=token.count,
            id=token.id,
            raw=token.raw,
            opaque=token.opaque,
        )
