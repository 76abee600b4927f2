"""The load of `make bench-scale` in small: every call ends as the contract says. No time is asserted."""

from __future__ import annotations

import math

import pytest

from bench.gaps import Percentiles
from bench.run import Server
from bench.scale import admin_probes, bare_refusals, probes, refusals, starts, streams

STARTS = 200


@pytest.fixture(scope="module")
def engine():
    started = Server("the engine", ["-m", "bench.engine"])
    yield started
    started.stop()


def test_starts_at_one_moment_complete_or_are_refused(engine: Server):
    """With OVERLOADED and a delay. None ends without a reason."""
    figures = starts(engine, "cheap", STARTS)
    assert figures.broken == []
    assert figures.completed + figures.overloaded == STARTS


def test_starts_are_refused_beside_a_bare_server(engine: Server):
    """All of them, with the same reason and a delay. The bare server is the floor of the machine."""
    for figures in (refusals(engine, STARTS), bare_refusals(STARTS)):
        assert figures.broken == []
        assert figures.overloaded == STARTS
        assert figures.call_us > 0


def test_slow_streams_have_as_many_gaps_as_the_engine(engine: Server):
    """Straight at the engine and through the server, all streams are complete."""
    figures = streams(engine, 20, seconds=2)
    assert figures.broken == []
    assert figures.completed + figures.overloaded == 20
    assert figures.engine_gap_ms is not None


def test_probes_are_answered_beside_a_load(engine: Server):
    """A missed one would be None; how long one takes is not asserted."""
    figures, answers = probes(engine, seconds=1.0)
    assert figures.broken == []
    assert answers


def test_admin_probes_are_answered_at_full_load(engine: Server):
    """By both ports, within a second each, while the event loop has more to do than it can."""
    figures, answers = admin_probes(engine, seconds=4.0)
    assert figures.broken == []
    assert len(answers) >= 12
    assert None not in answers


def test_percentiles_are_accurate_to_two_percent():
    """Also after they were merged."""
    halves = Percentiles(), Percentiles()
    for number in range(1, 1001):
        halves[number % 2].add(number / 1000)
    merged = Percentiles(halves[0].counts).merge([halves[1]])
    for share in (0.01, 0.5, 0.99):
        assert math.isclose(merged.at(share), share, rel_tol=0.02)
    assert Percentiles().at(0.5) == 0.0
