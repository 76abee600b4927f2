"""What an attempt tells of its engine, and whether that may be asked again. No I/O; times are seconds."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from tokengrpc.errors import EngineBusy, EngineError, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

CONSECUTIVE = 3
"""So many failures one after another open it."""

_SEEN, _LEAST_SEEN, _SHARE = 20, 10, 0.5
_FIRST_COOL_DOWN, _LONGEST_COOL_DOWN = 1.0, 60.0
_LEAST_BUSY, _LONGEST_BUSY = 0.1, 30.0


class AttemptOutcome(Enum):
    """What an attempt tells of its engine."""

    SUCCESS = "well"
    FAILURE = "ill"
    BACKOFF = "busy"
    NEUTRAL = "unjudged"


def classify_outcome(error: BaseException | None) -> AttemptOutcome:
    """Faults of the engine count, the caller's never; an engine that asks to wait is busy, not ill."""
    if error is None:
        return AttemptOutcome.SUCCESS
    if isinstance(error, EngineBusy):
        return AttemptOutcome.BACKOFF
    # Only an engine says at this stage that it has no such model: it is set up wrongly.
    return (
        AttemptOutcome.FAILURE if isinstance(error, EngineError | ModelNotFound) else AttemptOutcome.NEUTRAL
    )


class CircuitBreaker:
    """Closed, it lets everything through; open, nothing for a while; half-open, one trial at a time.

    It opens after `CONSECUTIVE` failures, or when half of the last 20 outcomes, at least 10, were failures.
    Each opening that a failed trial causes lasts twice as long as the one before, 1 s to 60 s. A success of
    the trial closes it. An engine that is busy is passed over for a while, but not held to be ill.
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
        # None while closed. Once it is past, the breaker is half-open.
        self._open_until: float | None = None
        self._trial = False
        self._busy_until = 0.0
        self.on_change: Callable[[bool], None] | None = None
        """Called with whether it is open when it opens or closes."""

    @property
    def closed(self) -> bool:
        """Whether the engine is held to be well."""
        return self._open_until is None

    @property
    def allowed_from(self) -> float:
        """When it will let something through again; a time that is past where it does so now."""
        return max(self._open_until or 0.0, self._busy_until)

    def backing_off_at(self, now: float) -> bool:
        """Whether the engine asked to be left alone."""
        return now < self._busy_until

    def allows(self, now: float) -> bool:
        """Whether the engine may be asked now."""
        if self.backing_off_at(now):
            return False
        return self._open_until is None or (now >= self._open_until and not self._trial)

    def begin(self) -> bool:
        """The engine is asked now. Answers whether that is a trial; who asked tells the outcome with it."""
        if self._open_until is None:
            return False
        self._trial = True
        return True

    def record(self, verdict: AttemptOutcome, now: float, *, trial: bool, wait: float) -> None:
        """What was asked has ended; `wait` is for how long a busy engine wants to be left alone."""
        match verdict:
            case AttemptOutcome.SUCCESS:
                self.succeeded(trial=trial)
            case AttemptOutcome.FAILURE:
                self.failed(now, trial=trial)
            case AttemptOutcome.BACKOFF:
                self.busy(now, wait, trial=trial)
            case AttemptOutcome.NEUTRAL:
                self.neutral(trial=trial)

    def succeeded(self, *, trial: bool) -> None:
        """The engine did well. What was asked before it opened says nothing about how it is now."""
        if self.closed or trial:
            self._notify(is_open=False)
            self._open_until, self._trial, self._cool_down = None, False, 0.0
            self._consecutive = 0
            self._recent.append(True)

    def failed(self, now: float, *, trial: bool) -> None:
        """The engine was at fault."""
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
        """What was asked has ended without telling anything of the engine."""
        if trial:
            self._trial = False

    def busy(self, now: float, wait: float, *, trial: bool) -> None:
        """The engine asks to be left alone for so many seconds."""
        self.neutral(trial=trial)
        self._busy_until = now + min(max(wait, _LEAST_BUSY), _LONGEST_BUSY)

    def probe_succeeded(self, now: float) -> None:
        """A check went well: an open one is half-open from now on."""
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
