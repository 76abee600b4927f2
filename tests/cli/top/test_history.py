"""What a server counted between samples: restarts, outages, windows, and sums over servers."""

from __future__ import annotations

from functools import partial

import pytest

from tokengrpc.cli.top.servers import series
from tokengrpc.cli.top.servers.figures import report
from tokengrpc.cli.top.servers.history import History, State
from tokengrpc.cli.top.servers.samples import Sample

TOKENS = (series.TOKENS, ("m", "a"))
READY = (series.MODEL_READY, ("m",))
READERS = (series.READERS, ("m",))


def sample(at: float, tokens: float, started: float = 1.0, **gauges: float) -> Sample:
    """Returns a sample of a server with a model; `gauges` by the constants' names."""
    named = {(getattr(series, name), ()): value for name, value in gauges.items()}
    shown = {READY: 1.0, READERS: 2.0, (series.START_TIME, ()): started, **named}
    return Sample(at, {TOKENS: tokens}, shown)


def history(*samples: Sample) -> History:
    made = History("a:1")
    for each in samples:
        made.add(each, wall=each.at)
    return made


def tokens(histories: list[History], begin: float, end: float) -> tuple[float, float]:
    """Returns tokens and tokens per second of a time."""
    total = report(histories, partial(History.window, begin=begin, end=end)).total
    return total.counts.get(series.TOKENS, 0.0), total.rates.get(series.TOKENS, 0.0)


def test_a_window_has_its_part_of_each_step() -> None:
    """Steps of ten seconds, of which the window has one and a half."""
    assert tokens([history(sample(0, 0), sample(10, 100), sample(20, 140))], 5, 20) == (90, 6)


def test_what_was_counted_before_the_first_sample_is_unknown() -> None:
    """It may be days old. A series that appears later began at 0."""
    assert tokens([history(sample(0, 500), sample(1, 503))], -10, 10) == (3, 3)
    late = History("a:1")
    late.add(Sample(0, {}, {}), 0)
    late.add(sample(1, 5, started=0), 0)
    assert tokens([late], 0, 1) == (5, 5)


@pytest.mark.parametrize("started", [2.0, 1.0])
def test_a_restart_begins_at_zero(started: float) -> None:
    """It is seen by the start time of the process or, where that is unknown, by a counter that is lower."""
    restarted = history(sample(0, 500), sample(10, 7, started=started), sample(11, 9, started=started))
    assert restarted.restarted == 10
    assert tokens([restarted], 0, 11) == (9, pytest.approx(9 / 11))


def test_a_restart_that_has_counted_more_is_seen() -> None:
    """Only the start time of the process says so."""
    restarted = history(sample(0, 500), sample(10, 600, started=2.0))
    assert restarted.restarted == 10
    assert tokens([restarted], 0, 10)[0] == 600


def test_an_outage_without_a_restart_loses_nothing() -> None:
    """What was counted meanwhile is spread over it. While the server is away, its gauges are not shown."""
    away = history(sample(0, 0), sample(10, 10))
    away.fail("nothing listens there", at=20, wall=20)
    assert (away.state, away.since, away.sample) == (State.UNREACHABLE, 20, None)
    assert report([away], History.last).total.gauge(series.READERS) == 0
    away.fail("nothing listens there", at=25, wall=25)
    assert away.since == 20
    away.add(sample(30, 70), wall=30)
    assert (away.state, away.since, away.restarted) == (State.SERVING, 30, None)
    assert tokens([away], 10, 30) == (60, 3)


def test_after_an_outage_a_process_counts_from_its_last_moment() -> None:
    """So its rate is not spread over the time in which there was no server."""
    back = history(sample(0, 0), sample(10, 10))
    back.fail("nothing listens there", at=99, wall=99)
    back.add(sample(100, 50, started=98), wall=100)
    assert tokens([back], 60, 100) == (50, 50)


def test_servers_are_added_up() -> None:
    """Rates too, though each server has samples of its own times."""
    first, second = history(sample(0, 0), sample(10, 100)), history(sample(5, 0), sample(10, 100))
    made = report([first, second], partial(History.window, begin=0, end=10))
    assert (made.total.count(series.TOKENS), made.total.rates[series.TOKENS]) == (200, 30)
    assert made.models["m"].engines["a"].count(series.TOKENS) == 200
    assert [server.count(series.TOKENS) for server in made.servers] == [100, 100]
    assert made.total.gauge(series.READERS) == 4
    assert made.seconds == 7.5


def test_old_steps_are_forgotten() -> None:
    """Those that ended more than a minute ago. The last one stays, however long it was."""
    assert len(history(*(sample(at, at) for at in range(200))).steps) == 61
    assert len(history(sample(0, 0), sample(1_000, 1)).steps) == 1


@pytest.mark.parametrize(
    ("gauges", "state"),
    [
        ({}, State.SERVING),
        ({"DRAINING": 1.0}, State.DRAINING),
        ({"DRAINING": 1.0, "HEARTBEAT_AGE": 6.0}, State.FROZEN),
    ],
)
def test_the_state_of_a_server(gauges: dict[str, float], state: State) -> None:
    """By its gauges; a frozen loop is worse than a drain."""
    assert history(sample(0, 0, **gauges)).state is state


def test_a_server_without_models_is_starting() -> None:
    """It opens its admin port before it knows them."""
    assert history(Sample(0, {}, {})).state is State.STARTING
