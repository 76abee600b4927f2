"""The circuit breaker, with times that the test passes in."""

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
    """A failed trial as soon as one is admitted; answers how long the next cool-down is."""
    assert breaker.begin()
    breaker.failed(now, trial=True)
    return breaker.allowed_from - now


def test_failures_in_a_row_open_it():
    """One fewer does not, and a success in between begins the row anew."""
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


def test_half_of_many_open_it():
    """Failures that never come in a row count as a share, once enough was seen."""
    breaker = CircuitBreaker()
    for number in range(9):
        breaker.failed(0.0, trial=False) if number % 2 else breaker.succeeded(trial=False)
    assert breaker.closed
    breaker.failed(0.0, trial=False)
    assert not breaker.closed


def test_half_open_lets_one_trial_through():
    """Until it is judged nothing else is admitted; a success closes the breaker, an unjudged end does not."""
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
    """Each failed trial doubles it up to a minute; a success starts it over."""
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


def test_what_was_asked_before_it_opened_changes_nothing():
    """Old failures do not lengthen the cool-down, old successes do not close it."""
    breaker = opened(10.0)
    breaker.failed(10.5, trial=False)
    breaker.succeeded(trial=False)
    assert not breaker.closed
    assert breaker.allowed_from == 11.0


@pytest.mark.parametrize(("wait", "kept"), [(0.0, 0.1), (3.0, 3.0), (3600.0, 30.0)])
def test_busy_is_not_ill(wait, kept):
    """It is passed over for as long as it asks, within bounds, and stays closed."""
    breaker = CircuitBreaker()
    breaker.busy(100.0, wait, trial=False)
    assert breaker.closed
    assert not breaker.allows(100.0 + kept - 0.01)
    assert breaker.allows(100.0 + kept)


def test_a_good_check_makes_it_half_open():
    """Not closed: only traffic shows that the engine generates."""
    breaker = opened(10.0)
    breaker.probe_succeeded(10.1)
    assert breaker.allows(10.1)
    assert not breaker.closed


STEPS = st.lists(st.tuples(st.sampled_from(["ask", "well", "ill", "unjudged", "busy"]), st.floats(0, 5)))


@given(STEPS)
def test_it_never_locks_up(steps):
    """Whatever happens, it admits something again within a minute of the last outcome."""
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
