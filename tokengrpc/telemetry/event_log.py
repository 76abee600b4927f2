"""The observer that logs: a line for each generation that ended, and for changes of engines and stores."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog

from tokengrpc.core.ports.observer import BreakerChanged, GenerationEnded, GenerationMoved, StoreStateChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.core.termination import Timestamps

MAX_LABELS = 8
MAX_LABEL_LENGTH = 64

log = structlog.get_logger("tokengrpc.events")


class EventLog:
    """Observer `log`. Engine failures and internal errors are logged as warnings."""

    def __init__(self) -> None:
        self._writers: dict[type[ObserverEvent], Callable[[Any], None]] = {
            GenerationEnded: _generation_ended,
            GenerationMoved: _generation_moved,
            BreakerChanged: _breaker_changed,
            StoreStateChanged: _store_changed,
        }

    def on_event(self, event: ObserverEvent) -> None:
        """Implements `Observer`."""
        write = self._writers.get(type(event))
        if write is not None:
            write(event)


def _generation_ended(event: GenerationEnded) -> None:
    record, times = event.record, event.timestamps
    write = log.warning if record.error_reason.startswith(("ENGINE_", "INTERNAL")) else log.info
    write(
        "generation",
        generation_id=record.generation_id,
        tenant=record.tenant,
        model=record.model,
        engines=" ".join(record.engines),
        attempts=len(record.engines),
        finish_reason=record.finish_reason.value if record.finish_reason else "",
        error_reason=record.error_reason,
        error=event.failure,
        input_tokens=record.usage.input,
        output_tokens=record.usage.output,
        usage_source=record.usage.source.name,
        first_token_seconds=_seconds(times.created, times.first_token),
        tokens_per_second=_rate(times, record.usage.output),
        seconds=_seconds(times.created, times.ended),
        caller=event.peer,
        labels=_bounded(record.labels),
        trace_id=event.trace.trace_id,
    )


def _generation_moved(event: GenerationMoved) -> None:
    log.info(
        "another server continues the generation",
        generation_id=event.key.generation_id,
        tenant=event.key.tenant,
        model=event.model,
        reason=event.reason,
        trace_id=event.trace.trace_id,
    )


def _breaker_changed(event: BreakerChanged) -> None:
    if event.open:
        log.warning(
            "circuit breaker opened",
            model=event.model,
            engine=event.engine,
            error_reason=event.reason,
            error=event.failure,
        )
    else:
        log.info("circuit breaker closed", model=event.model, engine=event.engine)


def _store_changed(event: StoreStateChanged) -> None:
    if event.available:
        log.info("store is available again", store=event.store)
    else:
        log.warning("store is unavailable", store=event.store)


def _seconds(begin_ns: int, end_ns: int) -> float | None:
    """Returns the time between two moments; None if the second one has not come."""
    return round((end_ns - begin_ns) / 1e9, 6) if end_ns else None


def _rate(times: Timestamps, tokens: int) -> float | None:
    """Returns the tokens a second after the first one; None if that has no meaning."""
    seconds = (times.ended - times.first_token) / 1e9
    if not times.first_token or tokens < 2 or seconds <= 0:
        return None
    return round((tokens - 1) / seconds, 1)


def _bounded(labels: Mapping[str, str]) -> dict[str, str]:
    """Returns the first labels, with what their caller may have put into them cut to a bounded length."""
    return {_cut(key): _cut(value) for key, value in islice(sorted(labels.items()), MAX_LABELS)}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LABEL_LENGTH else f"{text[: MAX_LABEL_LENGTH - 1]}…"
