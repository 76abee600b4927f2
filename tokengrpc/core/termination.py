"""The end of a generation, and its timestamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.model import FinishReason, State
from tokengrpc.core.text import encodable
from tokengrpc.errors import Cancelled, DeadlineExceeded, DetachExpired

if TYPE_CHECKING:
    from tokengrpc.core.model import EngineFinish
    from tokengrpc.errors import TokenGrpcError


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """End of a generation. `error` is None if it succeeded; `word` is the engine's own finish reason.

    `unstarted` replaces an end without an error if no engine has accepted the request yet.
    """

    reason: FinishReason
    word: str = ""
    matched_stop: str = ""
    error: TokenGrpcError | None = None
    unstarted: TokenGrpcError | None = None

    @classmethod
    def of(cls, finish: EngineFinish) -> Termination:
        """Returns the end that the engine reported."""
        return cls(
            reason=finish.reason, word=encodable(finish.word), matched_stop=encodable(finish.matched_stop)
        )

    @classmethod
    def failed(cls, error: TokenGrpcError) -> Termination:
        """Returns the end that an error causes."""
        for kind, reason in _REASONS.items():
            if isinstance(error, kind):
                return cls(reason=reason, error=error)
        return cls(reason=FinishReason.ERROR, error=error)

    @property
    def state(self) -> State:
        """The generation's state after this end."""
        if self.error is None:
            return State.SUCCEEDED
        return State.CANCELLED if self.reason is FinishReason.CANCELLED else State.FAILED


_REASONS: dict[type[TokenGrpcError], FinishReason] = {
    Cancelled: FinishReason.CANCELLED,
    DetachExpired: FinishReason.CANCELLED,
    DeadlineExceeded: FinishReason.DEADLINE,
}


class Timestamps(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Times of a generation, in nanoseconds since the Unix epoch; 0 for what has not happened."""

    created: int
    started: int = 0
    first_token: int = 0
    ended: int = 0
