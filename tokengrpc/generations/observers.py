"""Delivery of events to observers. Exceptions of an observer are logged and have no other effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.ports.observer import ClosesObserver, Tracer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokengrpc.core.ports.observer import Beginning, Observer, ObserverEvent
    from tokengrpc.core.trace import TraceContext

log = structlog.get_logger(__name__)


class Observers:
    """Observers of a process, in the order in which they receive each event."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)
        # A second one would not see the places that the first one gives.
        self._tracer = next((each for each in self._observers if isinstance(each, Tracer)), None)

    def emit(self, event: ObserverEvent) -> None:
        """Passes an event to each observer."""
        for observer in self._observers:
            try:
                observer.on_event(event)
            except Exception:
                log.exception(
                    "an observer failed", observer=type(observer).__name__, event_type=type(event).__name__
                )

    def begin(self, event: Beginning) -> TraceContext:
        """Passes an event to each observer. Returns the place in a trace of what begins.

        Without a tracer, that is the place that the event names.
        """
        self.emit(event)
        if self._tracer is not None:
            try:
                return self._tracer.begin(event)
            except Exception:
                log.exception("the tracer failed", event_type=type(event).__name__)
        return event.trace

    async def close(self) -> None:
        """Closes the observers that have something to do before the process ends."""
        for observer in self._observers:
            if isinstance(observer, ClosesObserver):
                try:
                    await observer.close()
                except Exception:
                    log.exception("an observer could not be closed", observer=type(observer).__name__)
