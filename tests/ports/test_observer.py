"""The contract of every observer: it handles each kind of event quickly, and raises nothing."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec import structs
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from tests.support.admin_pages import unstarted_metrics
from tests.support.records import KEY, finished_record
from tokengrpc.core.model import ContinuationMethod, Switch
from tokengrpc.core.ports.observer import (
    AttemptCause,
    AttemptEnded,
    AttemptStarted,
    BreakerChanged,
    BudgetLeased,
    CallEnded,
    CallStarted,
    EngineSwitched,
    FirstToken,
    GenerationAdmitted,
    GenerationEnded,
    GenerationMoved,
    GenerationStarted,
    ObserverEvent,
    Opening,
    StoreStateChanged,
    SubscriptionEnded,
    SubscriptionStarted,
    TokensRelayed,
)
from tokengrpc.core.termination import Timestamps
from tokengrpc.core.trace import TraceContext
from tokengrpc.generations.observers import Observers
from tokengrpc.telemetry.event_log import EventLog
from tokengrpc.telemetry.otel.metrics import Metrics
from tokengrpc.telemetry.otel.spans import Spans

ENGINE = {"key": KEY, "model": "m", "engine": "e"}
SWITCH = Switch(from_engine="e", to_engine="f", reason="x", method=ContinuationMethod.TEXT_PREFILL)
EVENTS = [
    CallStarted(method="StreamTokens"),
    CallEnded(method="StreamTokens", tenant="t", code="OK", reason="", seconds=0.1, sent_bytes=9),
    GenerationAdmitted(key=KEY, model="m"),
    GenerationStarted(**ENGINE, queue_seconds=0.1),
    AttemptStarted(**ENGINE, cause=AttemptCause.FIRST),
    AttemptEnded(**ENGINE, outcome="SUCCESS", error_reason="", wait_seconds=0.0, first_token_seconds=0.2),
    AttemptEnded(**ENGINE, outcome="FAILURE", error_reason="x", wait_seconds=0.0, first_token_seconds=None),
    FirstToken(**ENGINE, seconds=0.3),
    TokensRelayed(tenant="t", model="m", engine="e", count=12),
    EngineSwitched(key=KEY, model="m", switch=SWITCH),
    GenerationEnded(record=finished_record(), timestamps=Timestamps(created=1)),
    GenerationMoved(key=KEY, model="m", reason="DRAINING"),
    SubscriptionStarted(key=KEY, model="m", opening=Opening.RESUME),
    SubscriptionEnded(key=KEY, model="m", reason="", messages=3),
    BreakerChanged(model="m", engine="e", open=True),
    BudgetLeased(tenant="t", period="day", currency="", model="", used=0.5),
    StoreStateChanged(store="ledger", available=False),
]


def test_all_kinds_of_events_are_tested() -> None:
    """A new kind of event needs one more row."""
    assert {type(event) for event in EVENTS} == set(get_args(ObserverEvent))


def exported_metrics() -> Metrics:
    return Metrics(MeterProvider(shutdown_on_exit=False).get_meter("test"))


def spans() -> Spans:
    return Spans(TracerProvider(shutdown_on_exit=False).get_tracer("test"))


@pytest.mark.parametrize("make", [EventLog, unstarted_metrics, exported_metrics, spans])
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_observer_takes_every_event(make, event) -> None:
    """It ignores unknown events."""
    make().on_event(event)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_tracer_takes_every_event_of_a_span(event) -> None:
    """An event that belongs to a recorded span is added to it."""
    tracer = spans()
    place = tracer.begin(CallStarted(method="StreamTokens"))
    if "trace" in event.__struct_fields__:
        tracer.on_event(structs.replace(event, trace=place))


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


def test_a_failing_tracer_does_no_harm(capsys) -> None:
    """What begins keeps the place that the caller named."""

    class BrokenTracer(Broken):
        def begin(self, event: ObserverEvent) -> TraceContext:
            raise ValueError("broken")

    caller = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert Observers([BrokenTracer()]).begin(CallStarted(method="StreamTokens", trace=caller)) is caller
    assert "the tracer failed" in capsys.readouterr().out
