"""Circuit breaker: classifies the outcome of each attempt, and decides whether an engine may get requests.

No I/O; times are in seconds.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from tokengrpc.errors import AnswerMismatch, AnswerPaused, EngineBusy, EngineError, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

CONSECUTIVE = 3
"""Number of consecutive failures that opens a circuit breaker."""

_SEEN, _LEAST_SEEN, _SHARE = 20, 10, 0.5
_FIRST_COOL_DOWN, _LONGEST_COOL_DOWN = 1.0, 60.0
_LEAST_BUSY, _LONGEST_BUSY = 0.1, 30.0


class AttemptOutcome(Enum):
    """Outcome of an attempt as evidence of the engine's health."""

    SUCCESS = "success"
    FAILURE = "failure"
    BACKOFF = "backoff"
    NEUTRAL = "neutral"


class BreakerState(StrEnum):
    """State of a circuit breaker: all requests pass, none, or one trial at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def classify_outcome(error: BaseException | None) -> AttemptOutcome:
    """Classifies the end of an attempt; None means that it succeeded.

    Errors of the engine are failures. An engine that asks callers to wait is healthy but backs off. Errors
    that the caller caused are neutral.
    """
    if error is None:
        return AttemptOutcome.SUCCESS
    if isinstance(error, AnswerMismatch | AnswerPaused):
        # The engine works; whether it can do what this one request asks for says nothing about others.
        return AttemptOutcome.NEUTRAL
    if isinstance(error, EngineBusy):
        return AttemptOutcome.BACKOFF
    # Once an attempt runs, only the engine raises ModelNotFound: its configuration is wrong.
    return (
        AttemptOutcome.FAILURE if isinstance(error, EngineError | ModelNotFound) else AttemptOutcome.NEUTRAL
    )


class CircuitBreaker:
    """Circuit breaker of one engine. Closed: all requests pass. Open: none. Half-open: one trial at a time.

    It opens after `CONSECUTIVE` failures, or when at least half of the last 20 outcomes (at least 10) were
    failures. It stays open for 1 s at first, then becomes half-open. Each failed trial doubles the time, up
    to 60 s; a successful trial closes the breaker. An engine that asks for a backoff gets no requests until
    the backoff expires, but this does not count as a failure.
    """

    __slots__ = (
        "_busy_until",
        "_consecutive",
        "_cool_down",
        "_open_until",
        "_recent",
        "_trial",
        "on_change",
    )

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=_SEEN)
        self._consecutive = 0
        self._cool_down = 0.0
        # None while closed. Once this time has passed, the breaker is half-open.
        self._open_until: float | None = None
        self._trial = False
        self._busy_until = 0.0
        self.on_change: Callable[[bool], None] | None = None
        """Called when the breaker opens (with True) or closes (with False)."""

    @property
    def closed(self) -> bool:
        """Whether the breaker is closed: the engine is considered healthy."""
        return self._open_until is None

    def state_at(self, now: float) -> BreakerState:
        """Returns the state."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    @property
    def allowed_from(self) -> float:
        """Time from which the breaker allows a request; a time in the past if it allows one now."""
        return max(self._open_until or 0.0, self._busy_until)

    def backing_off_at(self, now: float) -> bool:
        """Returns whether a backoff that the engine asked for is in effect."""
        return now < self._busy_until

    def allows(self, now: float) -> bool:
        """Returns whether the engine may receive a request now."""
        if self.backing_off_at(now):
            return False
        return self._open_until is None or (now >= self._open_until and not self._trial)

    def begin(self) -> bool:
        """Notes that a request is sent. Returns whether it is a trial; the caller passes this to `record`."""
        if self._open_until is None:
            return False
        self._trial = True
        return True

    def record(self, outcome: AttemptOutcome, now: float, *, trial: bool, wait: float) -> None:
        """Takes the outcome of a request; `wait` is the backoff that the engine asked for, if any."""
        match outcome:
            case AttemptOutcome.SUCCESS:
                self.succeeded(trial=trial)
            case AttemptOutcome.FAILURE:
                self.failed(now, trial=trial)
            case AttemptOutcome.BACKOFF:
                self.busy(now, wait, trial=trial)
            case AttemptOutcome.NEUTRAL:
                self.neutral(trial=trial)

    def succeeded(self, *, trial: bool) -> None:
        """Takes a success. While open, only that of a trial counts: other requests were sent before."""
        if self.closed or trial:
            self._notify(is_open=False)
            self._open_until, self._trial, self._cool_down = None, False, 0.0
            self._consecutive = 0
            self._recent.append(True)

    def failed(self, now: float, *, trial: bool) -> None:
        """Takes a failure of the engine. While open, only that of a trial counts."""
        if trial:
            self._trial = False
            self._open(now)
        elif self.closed:
            self._consecutive += 1
            self._recent.append(False)
            bad = self._recent.count(False)
            share = len(self._recent) >= _LEAST_SEEN and bad >= len(self._recent) * _SHARE
            if self._consecutive >= CONSECUTIVE or share:
                self._open(now)

    def neutral(self, *, trial: bool) -> None:
        """Takes the end of a request that is no evidence of the engine's health."""
        if trial:
            self._trial = False

    def busy(self, now: float, wait: float, *, trial: bool) -> None:
        """Takes a backoff of `wait` seconds that the engine asked for; clamped to 0.1 s to 30 s."""
        self.neutral(trial=trial)
        self._busy_until = now + min(max(wait, _LEAST_BUSY), _LONGEST_BUSY)

    def probe_succeeded(self, now: float) -> None:
        """Takes a successful health check: an open breaker becomes half-open."""
        if self._open_until is not None:
            self._open_until = min(self._open_until, now)

    def _notify(self, *, is_open: bool) -> None:
        if self.on_change is not None and is_open is self.closed:
            self.on_change(is_open)

    def _open(self, now: float) -> None:
        self._notify(is_open=True)
        self._cool_down = min(max(self._cool_down * 2, _FIRST_COOL_DOWN), _LONGEST_COOL_DOWN)
        self._open_until = now + self._cool_down
        self._consecutive = 0
        self._recent.clear()
