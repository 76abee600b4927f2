"""The clocks of one generation: first token, inter-token, total, deadline, detached. All in seconds.

There are few timers, and tokens do not move them: the silence timer checks the time of the last token when it
fires.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tokengrpc.core.deadline import ROUNDING, largest_lag, margin
from tokengrpc.core.model import FinishReason
from tokengrpc.core.termination import Termination
from tokengrpc.errors import DeadlineExceeded, EngineStalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokengrpc.config import LimitSettings
    from tokengrpc.core.catalog import ClockLimits
    from tokengrpc.core.clock import Clock
    from tokengrpc.core.request import GenerationRequest

_LATE = "the deadline passed: allow more time or ask for less output"


def within(requested: float | None, default: float, largest: float) -> float:
    """Returns the request's value, or the default if it has none, but at most `largest`."""
    return min(default if requested is None else requested, largest)


def shortest(requested: float | None, model: float, server: float) -> float:
    """Returns the shortest limit of the request, the model and the server; None and 0 mean no limit."""
    return min(limit for limit in (requested, model, server) if limit)


class Timers:
    """Timers of a generation. Call `stop` when a time limit passes, `silent` when the engine stalls."""

    def __init__(
        self,
        request: GenerationRequest,
        model: ClockLimits,
        settings: LimitSettings,
        *,
        clock: Clock,
        deadline_left: float | None,
        stop: Callable[[Termination], None],
        silent: Callable[[EngineStalled], None],
        lag: Callable[[], float],
        passed: float = 0.0,
    ) -> None:
        """Starts the timers, `passed` seconds after the admission. Calls `stop` at once if one is overdue."""
        self._loop = asyncio.get_running_loop()
        self._now_ns = clock.now_ns
        self._stop: Callable[[Termination], None] = stop
        self._silent: Callable[[EngineStalled], None] = silent
        self._lag = lag
        limits, recovery = request.limits, request.recovery
        self._first = shortest(limits.first_token_timeout, model.first_token, settings.first_token_timeout)
        self._between = shortest(limits.inter_token_timeout, model.inter_token, settings.inter_token_timeout)
        self._total = shortest(limits.time_limit, model.total, settings.max_time_limit)
        self._detach_ttl = within(recovery.detach_ttl, settings.detach_ttl, settings.max_detach_ttl)
        self._clock = "first_token"
        self._closed = False
        # Time of the engine's last output. The attempt sets it, once per read.
        self.progress_ns = 0
        # The latest time at which the generation ends, on the loop's clock.
        self.ends_at = 0.0
        self._silence: asyncio.TimerHandle | None = self._loop.call_later(self._first, self._check_silence)
        self._detach: asyncio.TimerHandle | None = None
        self._ends = self._bounds(request, deadline_left, passed)

    def _bounds(
        self, request: GenerationRequest, deadline_left: float | None, passed: float
    ) -> list[asyncio.TimerHandle]:
        limits = request.limits
        timed_out = Termination(reason=FinishReason.TIME_LIMIT, unstarted=never_accepted(self._total))
        ends = [self._loop.call_later(self._total - passed, self._stop, timed_out)]
        if passed >= self._total:
            self._stop(timed_out)
        self.ends_at = ends[0].when()
        if deadline_left is not None and request.owns_deadline:
            late = Termination.failed(DeadlineExceeded(_LATE))
            if limits.deadline_action == "partial":
                late = Termination(reason=FinishReason.DEADLINE, unstarted=DeadlineExceeded(_LATE))
            if deadline_left <= 0:
                self._stop(late)
            due = self._loop.time() + deadline_left - margin(deadline_left, limits.deadline_margin)
            ends.append(self._loop.call_at(due - largest_lag(deadline_left), self._near_deadline, due, late))
            self.ends_at = min(self.ends_at, due)
        return ends

    def _near_deadline(self, due: float, late: Termination) -> None:
        """Ends the generation when it is due, or earlier by the loop's lag: a late end would not arrive."""
        at = due - self._lag()
        if at > self._loop.time() + ROUNDING:
            self._ends.append(self._loop.call_at(at, self._stop, late))
        else:
            self._stop(late)

    def first_token(self) -> None:
        """Notes the first token: from now on the inter-token clock runs."""
        if self._clock == "first_token":
            self._clock = "inter_token"
            self._stop_silence()
            self._silence = self._loop.call_later(self._between, self._check_silence)

    def next_engine(self) -> None:
        """Restarts the first-token clock for another engine, which continues after the first token."""
        self._clock = "first_token"
        self._stop_silence()
        self._silence = self._loop.call_later(self._first, self._check_silence)

    def start_detach(self, termination: Termination) -> None:
        """Ends the generation after `detach_ttl`, because no reader is left."""
        self._detach = self._loop.call_later(self._detach_ttl, self._stop, termination)

    def cancel_detach(self) -> None:
        """Cancels the detach timer, because there is a reader."""
        if self._detach is not None:
            self._detach.cancel()
            self._detach = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the engine's clocks while the generation waits for a store."""
        timer, began_ns = self._silence, self._now_ns()
        left = None if timer is None else timer.when() - self._loop.time()
        self._stop_silence()
        try:
            yield
        finally:
            if left is not None and not self._closed:
                self.progress_ns += self._now_ns() - began_ns
                self._silence = self._loop.call_later(max(left, 0.0), self._check_silence)

    def close(self) -> None:
        """Stops all clocks."""
        self._closed = True
        self.cancel_detach()
        for timer in self._ends:
            timer.cancel()
        self._ends.clear()
        self._stop_silence()
        # What these call refers to these timers.
        self._stop, self._silent = _ignore, _ignore

    def _stop_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _check_silence(self) -> None:
        # The first-token clock runs from the call's arrival; acceptance or another attempt do not restart it.
        limit = self._first if self._clock == "first_token" else self._between
        silent = limit if self._clock == "first_token" else (self._now_ns() - self.progress_ns) / 1e9
        if silent >= limit - ROUNDING:
            self._silent(stalled(self._clock, limit))
        else:
            self._silence = self._loop.call_later(limit - silent, self._check_silence)


def _ignore(_: object) -> None:
    """Takes the place of functions to call after `close`."""


def stalled(clock: str, limit: float) -> EngineStalled:
    """Returns the error of an engine that was silent for longer than a clock allows."""
    return EngineStalled(
        f"the engine was silent for longer than {limit:g} s (clock {clock}): try again or allow more time",
        metadata={"clock": clock, "limit_seconds": f"{limit:g}"},
    )


def never_accepted(limit: float) -> EngineStalled:
    """Returns the error of a generation whose time limit passed before any engine accepted the request."""
    return EngineStalled(
        f"the time limit of {limit:g} s passed before an engine accepted the request: allow more time",
        metadata={"clock": "total", "limit_seconds": f"{limit:g}"},
    )
