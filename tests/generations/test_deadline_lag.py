"""The margin before a deadline grows with the event loop's lag, on a clock that the tests move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokengrpc.config import LimitSettings
from tokengrpc.core.catalog import ClockLimits
from tokengrpc.core.deadline import largest_lag, margin
from tokengrpc.core.request import GenerationRequest, Limits
from tokengrpc.generations.timers import Timers

if TYPE_CHECKING:
    from tests.support.virtual_time import VirtualLoop
    from tokengrpc.core.termination import Termination

DEADLINE = 8.0


class Clock:
    """The clock of a loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ns(self) -> int:
        return round(self._loop.time() * 1e9)


class Generation:
    """The timers of a generation, the lag that they are told, and when they ended it."""

    def __init__(self, loop: VirtualLoop, limits: Limits | None = None) -> None:
        self.lag = 0.0
        self.ended_at: list[float] = []
        self._loop = loop

        async def create() -> Timers:
            return Timers(
                GenerationRequest(prompt="p", limits=limits or Limits()),
                ClockLimits(),
                LimitSettings(),
                clock=Clock(loop),
                deadline_left=DEADLINE,
                stop=self._stop,
                silent=lambda stall: None,
                lag=lambda: self.lag,
            )

        self.timers = loop.run_until_complete(create())

    def _stop(self, termination: Termination) -> None:
        self.ended_at.append(self._loop.time())
        self.timers.close()


@pytest.mark.parametrize("requested", [None, 2.0])
@pytest.mark.parametrize("lag", [0.0, 0.1, 0.6, 5.0])
def test_the_end_comes_earlier_by_the_lag(loop, lag, requested):
    """One margin before the deadline without lag, and never more than a bound earlier."""
    generation = Generation(loop, Limits(deadline_margin=requested))
    generation.lag = lag
    loop.advance(DEADLINE)
    due = DEADLINE - margin(DEADLINE, requested)
    assert generation.ended_at == [pytest.approx(due - min(lag, largest_lag(DEADLINE)), abs=1e-4)]
    assert not loop.timers


def test_a_lag_that_has_passed_does_not_count(loop):
    """What counts is the lag when the end draws near."""
    generation = Generation(loop)
    generation.lag = 0.5
    loop.advance(DEADLINE / 2)
    generation.lag = 0.0
    loop.advance(DEADLINE / 2)
    assert generation.ended_at == [pytest.approx(DEADLINE - margin(DEADLINE), abs=1e-4)]


def test_an_end_before_the_margin_leaves_no_timer(loop):
    """Neither before nor after the lag was looked at."""
    for seconds in (1.0, DEADLINE - margin(DEADLINE) - largest_lag(DEADLINE) / 2):
        generation = Generation(loop)
        loop.advance(seconds)
        generation.timers.close()
        loop.advance(DEADLINE)
        assert not generation.ended_at
        assert not loop.timers
