"""What follows a failure, and how long a client is patient. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import grpc

from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from tokengrpc.client.errors import TokenStreamError


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePolicy:
    """The bounds of a client's patience. Times are seconds.

    `attempts` are calls in a row that bring nothing new, after which a broken connection is given up;
    `retry_attempts` are further starts of a generation that was turned away before it began. Waits grow from
    `initial_backoff` by `backoff_factor` up to `max_backoff`, each drawn between 0 and that (full jitter);
    what the server asks for (RetryInfo) is added, and if that is more than `max_retry_delay`, its refusal is
    raised instead. `cancel_timeout` bounds the CancelGeneration of a reader who stops.
    """

    attempts: int = 6
    retry_attempts: int = 2
    initial_backoff: float = 0.05
    backoff_factor: float = 2.0
    max_backoff: float = 2.0
    max_retry_delay: float = 30.0
    cancel_timeout: float = 5.0

    def backoff(self, attempt: int, random: float) -> float:
        """Seconds to wait before an attempt, counted from 0; `random` is from 0 to 1."""
        return random * min(self.max_backoff, self.initial_backoff * self.backoff_factor**attempt)

    def too_long(self, failure: TokenStreamError) -> bool:
        """Whether the server asks for a longer wait than anybody is patient for."""
        return failure.retry_delay is not None and not failure.retry_delay <= self.max_retry_delay


class Step(Enum):
    """What follows the end of a call."""

    RECONNECT = "the same generation again, after the cursor"
    END = "it had ended well where reading began"
    RETRY = "another start: this one never began"
    LOST = "the rest is no longer kept"
    RAISE = "give up"


# gRPC makes these of a connection that broke: reset, refused, closed in the middle, a proxy's own reset.
BROKEN_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
TURNED_AWAY: Final = frozenset({"OVERLOADED", "DRAINING", "QUOTA_EXCEEDED"})
NOT_STARTED: Final = TURNED_AWAY | {"ENGINE_UNAVAILABLE"}
NOT_KEPT: Final = frozenset({"GENERATION_NOT_FOUND", "REPLAY_EXPIRED", "SEQUENCE_OUT_OF_RANGE"})


def next_step(failure: TokenStreamError | None, *, resuming: bool, begun: bool, read_only: bool) -> Step:
    """What to do after a call that ended without `finished`.

    `resuming`: it was ResumeTokens; `begun`: some event has arrived, in this call or before; `read_only`: the
    stream only reads what another call started. `failure` is None when the call ended with OK.

    - OK of a stream that only reads and got nothing: its cursor was that of `finished`: END.
    - OK otherwise: cut somewhere on the way: RECONNECT.
    - Advice RESUME: RECONNECT.
    - A resumed generation or its next events are gone: LOST, or RAISE when there was nothing before.
    - A server that turned a resuming call away (full, draining, over quota), the generation alive: RECONNECT.
    - Turned away before `started`, by the server, a quota or the engine: RETRY.
    - Any other advice or reason: RAISE. What was generated is billed, so nothing is repeated unasked.
    - No reason at all, with the code of a broken connection: RECONNECT.
    - Any other code of the gRPC library: RAISE.
    """
    if failure is None:
        return Step.END if read_only and not begun else Step.RECONNECT
    if failure.advice is Advice.RESUME:
        return Step.RECONNECT
    if failure.reason or failure.advice is not None:
        return _after_refusal(failure, resuming=resuming, begun=begun)
    return Step.RECONNECT if failure.code in BROKEN_CODES else Step.RAISE


def _after_refusal(failure: TokenStreamError, *, resuming: bool, begun: bool) -> Step:
    if resuming and begun and failure.reason in NOT_KEPT:
        return Step.LOST
    if resuming and failure.reason in TURNED_AWAY and not failure.ended:
        return Step.RECONNECT
    untried = not resuming and not begun and failure.advice is not Advice.NEVER
    return Step.RETRY if untried and failure.reason in NOT_STARTED else Step.RAISE
