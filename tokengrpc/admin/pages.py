"""The admin pages: liveness, readiness, metrics and debug."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.generations.status import ServerStatus
    from tokengrpc.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request: the query of its URL, and the content types that the client accepts, as it wrote them."""

    query: str = ""
    accept: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    content_type: str
    body: bytes


class Pages:
    """Pages of a server. Any thread may make them."""

    def __init__(self, status: ServerStatus, metrics: Metrics, debug: Callable[[], dict[str, Any]]) -> None:
        """`debug` returns what the debug page shows."""
        self._status = status
        self._metrics = metrics
        self._debug = debug
        self.by_path: dict[str, Callable[[PageRequest], Page]] = {
            "/healthz": self.healthz,
            "/readyz": self.readyz,
            "/metrics": self.metrics,
            "/debug": self.debug,
        }

    def healthz(self, _request: PageRequest) -> Page:
        """Returns 200 unless the event loop is frozen, otherwise 503."""
        alive, age = self._status.alive, self._status.heartbeat_age
        return _json(alive, {"alive": alive, "heartbeat_age_seconds": round(age, 3)})

    def readyz(self, request: PageRequest) -> Page:
        """Returns 200 while the server accepts new generations, otherwise 503; `model=NAME` asks for one."""
        status = self._status
        models = {model.name: model.ready for model in status.models()}
        ready = status.ready
        if names := parse_qs(request.query).get("model"):
            ready = ready and all(models.get(name, False) for name in names)
        details: dict[str, Any] = {"ready": ready, "phase": status.phase.value, "models": models}
        available = status.store_available()
        if available is not None:
            details |= {"event_store": "available" if available else "away"}
            details |= {"memory_only_generations": status.memory_only()}
        return _json(ready, details)

    def metrics(self, request: PageRequest) -> Page:
        """Returns all metrics in the format that the client asks for: OpenMetrics or Prometheus' text."""
        return Page(200, *self._metrics.exposition(request.accept))

    def debug(self, _request: PageRequest) -> Page:
        """Returns what the server is doing."""
        return _json(True, self._debug())


def _json(good: bool, values: dict[str, Any]) -> Page:
    body = json.dumps(values, indent=2).encode() + b"\n"
    return Page(200 if good else 503, "application/json", body)
