"""When an engine counts as silent: it is being called, and sends nothing. Times are in seconds."""

from __future__ import annotations

import pytest

from tests.support.pools import Played
from tokengrpc.core.breaker import AttemptOutcome
from tokengrpc.core.pooled_engine import PooledEngine, SlotRequest
from tokengrpc.core.routing import EnginePool
from tokengrpc.errors import EngineLost, EngineStalled, InvalidRequest, TokenGrpcError

LIMIT = 10.0


class Asked:
    """A pool of one engine, and calls of it."""

    def __init__(self, limit: float = LIMIT) -> None:
        self.engine = PooledEngine(Played("a"), silence_limit=limit)
        self.pool = EnginePool([self.engine])

    def call(self, at: float, until: float, error: TokenGrpcError | None = None, *, answered: bool = False):
        """Makes a call. Unless it fails or is answered, its caller leaves."""
        request = SlotRequest(capable=self.pool.engines, input_tokens=1, most_output=None, progress=lambda: 0)
        slot = self.pool.acquire(request, at)
        assert slot is not None
        outcome = AttemptOutcome.SUCCESS if answered else AttemptOutcome.NEUTRAL
        self.pool.release(slot, outcome, until, error=error)

    def silent(self, *times: float) -> list[bool]:
        """Returns whether the engine is silent at these times."""
        return [self.engine.is_silent(at) for at in times]


def test_impatient_callers_show_that_an_engine_is_silent():
    """Each leaves long before the limit, so that the circuit breaker learns nothing."""
    asked = Asked()
    for at in range(100, 112):
        asked.call(at, at + 0.5)
    assert asked.engine.breaker.closed
    assert asked.silent(109.9, 110.0, 111.6) == [False, True, True]
    # Nothing is known once nobody has called for as long.
    assert asked.silent(121.4, 121.5) == [True, False]


@pytest.mark.parametrize("answer", [None, InvalidRequest([("", "no")]), EngineLost("lost")])
def test_any_answer_ends_the_silence(answer: TokenGrpcError | None):
    """Also a refusal, and an error: those are for the circuit breaker."""
    asked = Asked()
    for at in range(100, 112):
        asked.call(at, at + 0.5)
    asked.call(112, 112.5, answer, answered=answer is None)
    assert asked.silent(112.5, 130) == [False, False]


def test_a_stall_is_no_answer():
    """The error is made when a timeout of the server passes."""
    asked = Asked()
    asked.call(100, 110, EngineStalled("silent", metadata={"clock": "first_token"}))
    assert asked.silent(110, 119.9, 120) == [True, True, False]


def test_output_of_one_call_counts_for_the_engine():
    """Others may be in prefill."""
    asked = Asked()
    request = SlotRequest(capable=asked.pool.engines, input_tokens=1, most_output=None, progress=lambda: 0)
    asked.pool.acquire(request, 100)
    assert asked.silent(109, 110) == [False, True]
    asked.engine.progress_ns = 105_000_000_000
    assert asked.silent(110, 114.9, 115) == [False, False, True]


def test_an_idle_time_is_no_silence():
    """The time before a call does not count."""
    asked = Asked()
    asked.call(100, 101, answered=True)
    request = SlotRequest(capable=asked.pool.engines, input_tokens=1, most_output=None, progress=lambda: 0)
    assert asked.silent(105, 200) == [False, False]
    asked.pool.acquire(request, 108)
    assert asked.silent(112, 117.9, 118) == [False, False, True]


def test_without_a_limit_no_engine_is_silent():
    """As in pools that no server has made."""
    asked = Asked(0)
    asked.call(100, 101)
    assert asked.silent(101, 1000) == [False, False]
