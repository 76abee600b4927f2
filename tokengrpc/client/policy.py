"""Resume policy: decides what follows a failed call, and bounds patience, retries and delays.

Pure functions: no I/O, no clock, no randomness.
"""

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
    """Bounds of reconnecting and retrying. Times are in seconds.

    - `patience`: how long reconnecting goes on without a new event or heartbeat. None: until the stream's
      timeout, or 60 s if it has none.
    - `retry_attempts`: further starts of a generation whose engines were unavailable, or that was lost before
      its first token.
    - `initial_backoff`, `backoff_factor`, `max_backoff`: the backoff grows from the initial value by the
      factor up to the maximum. Each delay is drawn between 0 and the current backoff (full jitter). The delay
      that the server requests in RetryInfo is added. Only the first call after `OVERLOADED` or `DRAINING` is
      made at once, because it goes to another replica if there is one.
    - `max_retry_delay`: if the server requests a longer delay, its error is raised instead.
    - `cancel_timeout`: timeout of CancelGeneration when a caller stops reading.
    """

    patience: float | None = None
    retry_attempts: int = 2
    initial_backoff: float = 0.05
    backoff_factor: float = 2.0
    max_backoff: float = 1.0
    max_retry_delay: float = 30.0
    cancel_timeout: float = 5.0

    def backoff(self, attempt: int, random: float) -> float:
        """Returns the delay in seconds before an attempt, counted from 0. `random` is between 0 and 1."""
        try:
            grown = self.initial_backoff * self.backoff_factor**attempt
        except OverflowError:  # after some thousand attempts
            grown = self.max_backoff
        return random * min(self.max_backoff, grown)

    def exceeds_max_delay(self, failure: TokenStreamError) -> bool:
        """Returns whether the server requests a longer delay than `max_retry_delay`."""
        return failure.retry_delay is not None and not failure.retry_delay <= self.max_retry_delay


class Step(Enum):
    """Step that follows the end of a call."""

    RECONNECT = "call again for the same generation, after the cursor"
    REPEAT = "make the same call again: it was rejected, and nothing was lost"
    END = "end normally: the generation had already finished at the cursor"
    RETRY = "start the generation again: the engines could not be asked"
    LOST = "fail or start again: the server no longer has the following events"
    RAISE = "raise the error"


# gRPC reports broken connections with these codes: reset, refused, closed during a call, reset by a proxy.
BROKEN_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
REJECTED: Final = frozenset({"OVERLOADED", "DRAINING", "QUOTA_EXCEEDED", "STORE_UNAVAILABLE"})
TRY_ELSEWHERE: Final = frozenset({"OVERLOADED", "DRAINING"})
"""Reasons that concern one server: another replica may serve the call at once."""
FORGOTTEN: Final = frozenset({"GENERATION_NOT_FOUND", "REPLAY_EXPIRED", "SEQUENCE_OUT_OF_RANGE"})


def next_step(failure: TokenStreamError | None, *, resuming: bool, begun: bool, read_only: bool) -> Step:
    """Returns the step after a call that ended without `finished`.

    `failure` is None if the call ended with OK. `resuming`: the call was ResumeTokens. `begun`: the stream
    has received an event, in this call or an earlier one. `read_only`: the stream reads a generation that
    another call started.

    - OK on a read-only stream without events: END, because the cursor was that of `finished`.
    - Any other OK: RECONNECT, because the stream was cut on the way.
    - Advice RESUME: RECONNECT.
    - ResumeTokens finds the generation or its next events gone: LOST if the stream had begun, else RAISE.
    - A call rejected (overloaded, draining, over quota, no store) while the generation has not ended: REPEAT.
      If it was StreamTokens, the stream must not have begun.
    - StreamTokens without an engine that could be asked, before `started`: RETRY.
    - Any other failure with advice: RAISE. Generated tokens are billed, so the caller decides about a repeat.
    - No advice, or unknown advice: RECONNECT if the code is that of a broken connection, else RAISE,
      whatever the reason.
    """
    if failure is None:
        return Step.END if read_only and not begun else Step.RECONNECT
    if failure.advice is Advice.RESUME:
        return Step.RECONNECT
    if failure.advice is None:
        return Step.RECONNECT if failure.code in BROKEN_CODES else Step.RAISE
    return _after_rejection(failure, resuming=resuming, begun=begun)


def _after_rejection(failure: TokenStreamError, *, resuming: bool, begun: bool) -> Step:
    if resuming and begun and failure.reason in FORGOTTEN:
        return Step.LOST
    startable = not resuming and not begun and failure.advice is not Advice.NEVER
    if failure.ended or not (resuming or startable):
        return Step.RAISE
    if failure.reason in REJECTED:
        return Step.REPEAT
    return Step.RETRY if startable and failure.reason == "ENGINE_UNAVAILABLE" else Step.RAISE
