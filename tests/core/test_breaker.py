"""The circuit breaker, with times that the tests pass in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.core.breaker import CONSECUTIVE, CircuitBreaker


def opened(now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(CONSECUTIVE):
        breaker.failed(now, trial=False)
    return breaker


def fail_trial(breaker: CircuitBreaker, now: float) -> float:
    """Fails a trial as soon as one is admitted. Returns the length of the next cool-down."""
    assert breaker.begin()
    breaker.failed(now, trial=True)
    return breaker.allowed_from - now


def test_consecutive_failures_open_it():
    """One fewer does not. A success in between restarts the count."""
    breaker = CircuitBreaker()
    for _ in range(CONSECUTIVE - 1):
        breaker.failed(0.0, trial=False)
    breaker.succeeded(trial=False)
    for _ in range(CONSECUTIVE - 1):
        breaker.failed(0.0, trial=False)
    assert breaker.closed
    breaker.failed(0.0, trial=False)
    assert not breaker.closed
    assert not breaker.allows(0.99)
    assert breaker.allows(1.0)


def test_a_failure_share_of_half_opens_it():
    """Failures that are not consecutive count as a share, once there were enough requests."""
    breaker = CircuitBreaker()
    for number in range(9):
        breaker.failed(0.0, trial=False) if number % 2 else breaker.succeeded(trial=False)
    assert breaker.closed
    breaker.failed(0.0, trial=False)
    assert not breaker.closed


def test_half_open_admits_one_trial():
    """Nothing else is admitted until the trial has an outcome.

    A success closes the breaker; no evidence does not.
    """
    breaker = opened()
    assert breaker.begin()
    assert not breaker.allows(5.0)
    breaker.neutral(trial=True)
    assert breaker.allows(5.0)
    assert not breaker.closed
    assert breaker.begin()
    breaker.succeeded(trial=True)
    assert breaker.closed
    assert not breaker.begin()


def test_cool_downs_grow_and_are_bounded():
    """Each failed trial doubles the cool-down up to a minute. A success resets it."""
    breaker = opened()
    now, lengths = 1.0, []
    for _ in range(9):
        lengths.append(fail_trial(breaker, now))
        now = breaker.allowed_from
    assert lengths == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]
    assert breaker.begin()
    breaker.succeeded(trial=True)
    for _ in range(CONSECUTIVE):
        breaker.failed(now, trial=False)
    assert breaker.allowed_from - now == 1.0


def test_requests_from_before_it_opened_change_nothing():
    """Their failures do not lengthen the cool-down, and their successes do not close the breaker."""
    breaker = opened(10.0)
    breaker.failed(10.5, trial=False)
    breaker.succeeded(trial=False)
    assert not breaker.closed
    assert breaker.allowed_from == 11.0


@pytest.mark.parametrize(("wait", "kept"), [(0.0, 0.1), (3.0, 3.0), (3600.0, 30.0)])
def test_a_busy_engine_is_not_unhealthy(wait, kept):
    """It is skipped for as long as it requests, within bounds. The breaker stays closed."""
    breaker = CircuitBreaker()
    breaker.busy(100.0, wait, trial=False)
    assert breaker.closed
    assert not breaker.allows(100.0 + kept - 0.01)
    assert breaker.allows(100.0 + kept)


def test_a_passed_check_makes_it_half_open():
    """It does not close, because only traffic shows that the engine generates."""
    breaker = opened(10.0)
    breaker.probe_succeeded(10.1)
    assert breaker.allows(10.1)
    assert not breaker.closed


STEPS = st.lists(st.tuples(st.sampled_from(["ask", "well", "ill", "unjudged", "busy"]), st.floats(0, 5)))


@given(STEPS)
def test_it_never_stays_open(steps):
    """Whatever happens, it admits a request within a minute of the last outcome."""
    breaker, now, running = CircuitBreaker(), 0.0, []
    for name, passed in steps:
        now += passed
        if name == "ask":
            if breaker.allows(now):
                running.append(breaker.begin())
            continue
        if not running:
            continue
        trial = running.pop(0)
        match name:
            case "well":
                breaker.succeeded(trial=trial)
            case "ill":
                breaker.failed(now, trial=trial)
            case "unjudged":
                breaker.neutral(trial=trial)
            case "busy":
                breaker.busy(now, 1.0, trial=trial)
        assert sum(running) <= 1
    for trial in running:
        breaker.neutral(trial=trial)
    assert breaker.allows(now + 60.0)
