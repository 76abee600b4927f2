"""The numbered events of a generation."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec
from msgspec import structs

from tokengrpc.core.model import Cost, Switch, Token, ToolCallFragment, Usage
from tokengrpc.core.snapshot import GenerationSnapshot


class RecordKind(StrEnum):
    """The content of an event log's record. Consecutive records of a joinable kind may become one message."""

    TOKENS = "TOKENS"
    FRAGMENTS = "FRAGMENTS"
    STARTED = "STARTED"
    SWITCHED = "SWITCHED"
    FINISHED = "FINISHED"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One numbered event. `kind` determines which of the last four fields is set.

    `snapshot` is the generation as of this event; set on the first (STARTED) and the last (FINISHED) event.
    """

    sequence: int
    kind: RecordKind
    usage: Usage
    time_ns: int
    tokens: Sequence[Token] = ()
    fragments: Sequence[ToolCallFragment] = ()
    switch: Switch | None = None
    snapshot: GenerationSnapshot | None = None

    def billed(self, usage: Usage, cost: Cost | None) -> Event:
        """Returns this event, the last one, with what was recorded."""
        if self.snapshot is None or usage == self.usage:
            return self
        return structs.replace(
            self, usage=usage, snapshot=structs.replace(self.snapshot, usage=usage, cost=cost)
        )
