"""Delivery of events to observers. Exceptions of an observer are logged and have no other effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokengrpc.core.ports.observer import Observer, ObserverEvent

log = structlog.get_logger(__name__)


class Observers:
    """Observers of a process, in the order in which they receive each event."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def emit(self, event: ObserverEvent) -> None:
        """Passes an event to each observer."""
        for observer in self._observers:
            try:
                observer.on_event(event)
            except Exception:
                log.exception(
                    "an observer failed", observer=type(observer).__name__, event_type=type(event).__name__
                )
