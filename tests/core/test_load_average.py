"""Averages of the load over the last seconds."""

from __future__ import annotations

import pytest

from tokengrpc.core.load_average import MEMORY, LoadAverage, Quantity


def test_nothing_has_a_rate_before_time_has_passed():
    """What was added is not lost, but has no rate yet."""
    average = LoadAverage()
    average.add(Quantity.REQUESTS)
    assert average.rate(Quantity.REQUESTS) == 0
    average.elapse(0.5)
    assert average.rate(Quantity.REQUESTS) == pytest.approx(2)


def test_a_steady_load_has_its_rate_from_the_first_second_on():
    """Averages do not begin at zero."""
    average = LoadAverage()
    for _ in range(5):
        average.add(Quantity.TOKENS, 20)
        average.add(Quantity.UTILIZED_SECONDS, 0.05)
        average.elapse(0.1)
        assert average.rate(Quantity.TOKENS) == pytest.approx(200)
        assert average.rate(Quantity.UTILIZED_SECONDS) == pytest.approx(0.5)


def test_what_is_past_fades():
    """By 1/e in each time constant, whatever the intervals."""
    average = LoadAverage()
    for _ in range(1_000):
        average.add(Quantity.ERRORS, 0.1)
        average.elapse(0.1)
    for _ in range(50):
        average.elapse(MEMORY / 50)
    assert average.rate(Quantity.ERRORS) == pytest.approx(0.368, rel=0.01)
