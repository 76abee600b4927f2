"""State of a generation at one moment, for messages, errors and lookups."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tokengrpc.core.attempts import Attempt
from tokengrpc.core.model import Cost, LogIdentity, State, Usage
from tokengrpc.core.termination import Termination, Timestamps


class GenerationSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """State of a generation at one moment.

    `termination` is set once the generation has ended, `complete` once its end has also been recorded and
    published. `first_kept_sequence` is 0 if no event is kept. `cost` is set at the end, if there is a price.
    """

    generation_id: str
    model: str
    server: str
    log: LogIdentity
    engine: str
    attempts: tuple[Attempt, ...]
    state: State
    timestamps: Timestamps
    usage: Usage
    last_sequence: int
    termination: Termination | None = None
    labels: Mapping[str, str] = {}
    first_kept_sequence: int = 0
    subscription_count: int = 0
    cost: Cost | None = None
    complete: bool = False

    @property
    def started(self) -> bool:
        """Whether an engine has accepted the request."""
        return bool(self.timestamps.started)
