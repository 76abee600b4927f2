"""The contract of every observer: it handles each kind of event quickly, and raises nothing."""

from __future__ import annotations

from typing import get_args

import pytest

from tests.support.records import KEY, finished_record
from tokengrpc.core.ports.observer import (
    AttemptEnded,
    BreakerChanged,
    FirstToken,
    GenerationAdmitted,
    GenerationEnded,
    GenerationStarted,
    ObserverEvent,
    StoreStateChanged,
    SubscriptionEnded,
    TokensRelayed,
)
from tokengrpc.core.termination import Timestamps
from tokengrpc.generations.observers import Observers
from tokengrpc.telemetry.logs import GenerationLog

ENGINE = {"key": KEY, "model": "m", "engine": "e"}
EVENTS = [
    GenerationAdmitted(key=KEY, model="m"),
    GenerationStarted(**ENGINE, queue_seconds=0.1),
    AttemptEnded(**ENGINE, outcome="SUCCESS", error_reason="", wait_seconds=0.0, first_token_seconds=0.2),
    AttemptEnded(**ENGINE, outcome="FAILURE", error_reason="x", wait_seconds=0.0, first_token_seconds=None),
    FirstToken(**ENGINE, seconds=0.3),
    TokensRelayed(tenant="t", model="m", engine="e", count=12),
    GenerationEnded(record=finished_record(), timestamps=Timestamps(created=1)),
    SubscriptionEnded(key=KEY, model="m", reason="", messages=3),
    BreakerChanged(model="m", engine="e", open=True),
    StoreStateChanged(store="ledger", available=False),
]


def test_all_kinds_of_events_are_tested() -> None:
    """A new kind of event needs one more row."""
    assert {type(event) for event in EVENTS} == set(get_args(ObserverEvent))


@pytest.mark.parametrize("make", [GenerationLog])
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_observer_takes_every_event(make, event) -> None:
    """It ignores unknown events."""
    make().on_event(event)


class Broken:
    """An observer that always raises."""

    def on_event(self, event: ObserverEvent) -> None:
        raise ValueError("broken")


def test_a_failing_observer_does_no_harm(capsys) -> None:
    """The other observers are called nevertheless, and the log names the one that failed."""
    seen: list[ObserverEvent] = []

    class Seeing:
        def on_event(self, event: ObserverEvent) -> None:
            seen.append(event)

    observers = Observers([Broken(), Seeing()])
    for event in EVENTS:
        observers.emit(event)
    assert seen == EVENTS
    assert capsys.readouterr().out.count("observer='Broken'") == len(EVENTS)
