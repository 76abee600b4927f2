"""Load of the server as clients see it (ORCA): an observer that counts requests, errors and tokens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tokengrpc.core.load_average import LoadAverage, LoadReport, Quantity
from tokengrpc.core.ports.observer import CallEnded, GenerationAdmitted, TokensRelayed
from tokengrpc.errors import Reason
from tokengrpc.telemetry.memory_limit import memory_limit
from tokengrpc.telemetry.own_use import available_cores, resident_memory

if TYPE_CHECKING:
    from tokengrpc.core.admission import Admission
    from tokengrpc.core.capacity import Measurement
    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.core.routing import EnginePool
    from tokengrpc.generations.status import ServerStatus

REFUSALS = frozenset({Reason.OVERLOADED, Reason.DRAINING})
"""Reasons for which the server refuses a call before it is admitted. Another server may take it."""

ERRORS = REFUSALS | {
    Reason.ENGINE_ABORTED,
    Reason.ENGINE_AUTH_FAILED,
    Reason.ENGINE_LOST,
    Reason.ENGINE_PROTOCOL_ERROR,
    Reason.ENGINE_STALLED,
    Reason.ENGINE_TRUNCATED,
    Reason.ENGINE_UNAVAILABLE,
    Reason.INTERNAL,
    Reason.STORE_UNAVAILABLE,
}
"""Reasons that speak against this server: a caller cannot cause them alone."""


class LoadReports:
    """Observer that reports the load of the last seconds. All on the event loop."""

    def __init__(self, admission: Admission, status: ServerStatus) -> None:
        self._admission = admission
        self._status = status
        self._average = LoadAverage()
        self._cores = available_cores()
        self._memory = memory_limit()
        self._cpu = time.process_time()
        self._report: LoadReport | None = None

    def on_event(self, event: ObserverEvent) -> None:
        """Implements `Observer`."""
        match event:
            case GenerationAdmitted():
                self._average.add(Quantity.REQUESTS)
            case CallEnded(reason=reason) if reason in ERRORS:
                self._average.add(Quantity.ERRORS)
                if reason in REFUSALS:
                    self._average.add(Quantity.REQUESTS)
            case TokensRelayed(count=count):
                self._average.add(Quantity.TOKENS, count)

    def measured(self, measurement: Measurement) -> None:
        """Takes a measurement of the event loop, which tells how much time has passed."""
        before, self._cpu = self._cpu, time.process_time()
        self._average.add(Quantity.CPU_SECONDS, self._cpu - before)
        self._average.add(Quantity.UTILIZED_SECONDS, self._utilization() * measurement.elapsed)
        self._average.elapse(measurement.elapsed)
        self._report = None

    def report(self) -> LoadReport:
        """Returns the load. The same one until the next measurement."""
        if self._report is None:
            rate = self._average.rate
            pools = self._pools()
            self._report = LoadReport(
                application_utilization=rate(Quantity.UTILIZED_SECONDS),
                cpu_utilization=rate(Quantity.CPU_SECONDS) / self._cores,
                memory_utilization=resident_memory() / self._memory if self._memory else 0.0,
                requests=rate(Quantity.REQUESTS),
                errors=rate(Quantity.ERRORS),
                named={
                    "num_requests_running": sum(pool.running for pool in pools),
                    "num_requests_waiting": sum(pool.waiting for pool in pools),
                    "tokens_per_second": rate(Quantity.TOKENS),
                },
            )
        return self._report

    def _pools(self) -> list[EnginePool]:
        catalog = self._status.catalog
        return [] if catalog is None else [model.pool for model in catalog.all()]

    def _utilization(self) -> float:
        """Returns the largest of these fractions: of generations, of the core, and of the engines' slots."""
        limited = [pool for pool in self._pools() if pool.slots]
        slots = sum(pool.slots for pool in limited)
        taken = sum(pool.running + pool.waiting for pool in limited)
        return max(self._admission.utilization, taken / slots if slots else 0.0)
