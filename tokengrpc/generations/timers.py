"""The clocks of one generation: first token, between tokens, total, deadline, detached. All in seconds.

Few timers, moved rarely: the silence timer looks back when it fires instead of being moved by each token.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tokengrpc.core.deadline import ROUNDING, margin
from tokengrpc.core.model import FinishReason
from tokengrpc.core.termination import Termination
from tokengrpc.errors import DeadlineExceeded, EngineStalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokengrpc.config import LimitSettings
    from tokengrpc.core.catalog import ClockLimits
    from tokengrpc.core.clock import Clock
    from tokengrpc.core.request import GenerationRequest

_LATE = "the deadline came: allow more time or ask for less"


def within(asked: float | None, default: float, largest: float) -> float:
    """What was asked for, or the default, but not more than the server's largest."""
    return min(default if asked is None else asked, largest)


def shortest(asked: float | None, models: float, servers: float) -> float:
    """A limit of the request, within the model's, within the server's; None and 0: none of its own."""
    return min(limit for limit in (asked, models, servers) if limit)


class Timers:
    """Calls `stop` when a clock of the generation runs out, `silent` when it is the running engine's."""

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
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._now_ns = clock.now_ns
        self._stop = stop
        self._silent = silent
        limits, recovery = request.limits, request.recovery
        self._first = shortest(limits.first_token_timeout, model.first_token, settings.first_token_timeout)
        self._between = shortest(limits.inter_token_timeout, model.inter_token, settings.inter_token_timeout)
        self._total = shortest(limits.time_limit, model.total, settings.max_time_limit)
        self._detach_ttl = within(recovery.detach_ttl, settings.detach_ttl, settings.max_detach_ttl)
        self._clock = "first_token"
        self._closed = False
        # When the engine last moved: set by whoever feeds the generation, once per read.
        self.progress_ns = 0
        # When the generation ends at the latest, on the loop's clock.
        self.ends_at = 0.0
        self._silence: asyncio.TimerHandle | None = self._loop.call_later(self._first, self._check_silence)
        self._detach: asyncio.TimerHandle | None = None
        self._ends = self._bounds(request, deadline_left)

    def _bounds(self, request: GenerationRequest, deadline_left: float | None) -> list[asyncio.TimerHandle]:
        limits = request.limits
        timed_out = Termination(reason=FinishReason.TIME_LIMIT, unstarted=never_accepted(self._total))
        ends = [self._loop.call_later(self._total, self._stop, timed_out)]
        if deadline_left is not None and request.owns_deadline:
            late = Termination.failed(DeadlineExceeded(_LATE))
            if limits.deadline_action == "partial":
                late = Termination(reason=FinishReason.DEADLINE, unstarted=DeadlineExceeded(_LATE))
            at = deadline_left - margin(deadline_left, limits.deadline_margin)
            ends.append(self._loop.call_later(at, self._stop, late))
        self.ends_at = min(timer.when() for timer in ends)
        return ends

    def first_token(self) -> None:
        """The first token has come: from now on the clock between tokens runs."""
        if self._clock == "first_token":
            self._clock = "inter_token"
            self._stop_silence()
            self._silence = self._loop.call_later(self._between, self._check_silence)

    def next_engine(self) -> None:
        """Another engine is to go on after the first token: it gets the time for a first token anew."""
        self._clock = "first_token"
        self._stop_silence()
        self._silence = self._loop.call_later(self._first, self._check_silence)

    def start_detach(self, termination: Termination) -> None:
        """No reader is left: end after the time to wait for one."""
        self._detach = self._loop.call_later(self._detach_ttl, self._stop, termination)

    def cancel_detach(self) -> None:
        """A reader has come."""
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


def stalled(clock: str, limit: float) -> EngineStalled:
    """The failure of an engine that was silent for longer than one of the clocks allows."""
    return EngineStalled(
        f"the engine was silent for longer than {limit:g} s (clock {clock}): try again or allow more",
        metadata={"clock": clock, "limit_seconds": f"{limit:g}"},
    )


def never_accepted(limit: float) -> EngineStalled:
    """The failure of a generation whose time limit came before any engine had accepted the request."""
    return EngineStalled(
        f"the time limit of {limit:g} s came before an engine had accepted: allow more",
        metadata={"clock": "total", "limit_seconds": f"{limit:g}"},
    )
