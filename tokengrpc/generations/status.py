"""The state of a server, for other threads: reading it waits for nothing and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.breaker import BreakerState
from tokengrpc.core.tenant import Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.admission import Admission
    from tokengrpc.core.catalog import Catalog, ServedModel
    from tokengrpc.core.clock import Clock
    from tokengrpc.core.pooled_engine import PooledEngine
    from tokengrpc.generations.buffer import EventBuffers
    from tokengrpc.generations.loop_probe import LoopProbe

FROZEN_AFTER = 5.0
"""Seconds without a heartbeat of the event loop, which beats 20 times a second, after which it is frozen."""


class Phase(StrEnum):
    """Phase of a server's life. It accepts new generations while it serves."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of an engine of a model. `latency_counts` and `latency_seconds` as in `InterTokenLatency`.

    `silent` and `silent_seconds` as in `PooledEngine`.
    """

    name: str
    running: int
    breaker: BreakerState
    silent: bool
    silent_seconds: float
    latency_counts: tuple[int, ...]
    latency_seconds: float


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of a model: its queued requests and its engines."""

    name: str
    waiting_by_priority: Mapping[Priority, int]
    engines: tuple[EngineStatus, ...]

    @property
    def waiting(self) -> int:
        """Number of queued requests."""
        return sum(self.waiting_by_priority.values())

    @property
    def ready(self) -> bool:
        """Whether an engine makes progress: its circuit breaker is closed, and it is not silent."""
        return any(engine.breaker is BreakerState.CLOSED and not engine.silent for engine in self.engines)


class ServerStatus:
    """State of a server. The server sets its phase, and its catalog once it has one.

    A process whose log lines may be dropped sets `dropped_log_lines`; a server with a certificate sets
    `certificate_end` (seconds since 1970; None if it is unknown), one that exports spans `dropped_spans`, and
    one with an event store `store_available` and `memory_only` (generations whose events it lacks).
    """

    def __init__(self, probe: LoopProbe, admission: Admission, buffers: EventBuffers, clock: Clock) -> None:
        self.phase = Phase.STARTING
        self.catalog: Catalog | None = None
        self.dropped_log_lines: Callable[[], int] = int
        self.dropped_spans: Callable[[], int] = int
        self.memory_only: Callable[[], int] = int
        self.store_available: Callable[[], bool | None] = lambda: None
        self.certificate_end: Callable[[], float | None] = lambda: None
        self._probe = probe
        self._admission = admission
        self._buffers = buffers
        self._clock = clock

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the event loop's last heartbeat; 0 while the server starts."""
        return self._probe.heartbeat_age()

    @property
    def alive(self) -> bool:
        """Whether the event loop is not frozen."""
        return self.heartbeat_age < FROZEN_AFTER

    @property
    def loop_lag(self) -> float:
        """Seconds by which the event loop ran its last heartbeat late."""
        return self._probe.lag

    @property
    def ready(self) -> bool:
        """Whether the server accepts new generations, for at least one of its models."""
        return self.phase is Phase.SERVING and any(model.ready for model in self.models())

    @property
    def generations(self) -> int:
        """Number of running generations."""
        return self._admission.active

    @property
    def max_generations(self) -> int:
        """Number of generations that may run."""
        return self._admission.max_generations

    @property
    def rejections(self) -> Mapping[str, int]:
        """Number of callers that were rejected because the server was at capacity, by cause."""
        return self._admission.capacity.rejections.copy()

    @property
    def core_wait(self) -> float:
        """Share of the time in which the process waits for a core."""
        return self._admission.capacity.core_wait

    @property
    def core_forecast(self) -> float:
        """Share of a core that the running generations will need once all of them have output."""
        return self._admission.capacity.forecast

    @property
    def log_bytes(self) -> int:
        """Bytes of events that are kept for readers, of all generations."""
        return self._buffers.used_bytes

    @property
    def max_log_bytes(self) -> int:
        """Bytes of events that may be kept for readers."""
        return self._buffers.total_bytes

    def models(self) -> tuple[ModelStatus, ...]:
        """Returns the state of each model; none before the catalog is known."""
        return () if self.catalog is None else tuple(map(self._model, self.catalog.all()))

    def _model(self, model: ServedModel) -> ModelStatus:
        engines = tuple(map(self._engine, model.pool.engines))
        waiting = model.pool.waiting_by_priority
        return ModelStatus(name=model.name, waiting_by_priority=waiting, engines=engines)

    def _engine(self, pooled: PooledEngine) -> EngineStatus:
        now = self._clock.now_ns() / 1e9
        return EngineStatus(
            name=pooled.engine.name,
            running=pooled.running,
            breaker=pooled.breaker.state_at(now),
            silent=pooled.is_silent(now),
            silent_seconds=pooled.silent_seconds(now),
            latency_counts=pooled.inter_token_latency.counts,
            latency_seconds=pooled.inter_token_latency.seconds,
        )
