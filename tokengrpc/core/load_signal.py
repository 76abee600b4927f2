"""What an engine says about its own load, as a signal for balancing. No I/O; times are in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.ports.engine import ReportsLoad

if TYPE_CHECKING:
    from tokengrpc.core.ports.engine import Engine, ReportedLoad

# An engine reports its load with its answers. A report says nothing once it is this old.
_VALID_SECONDS = 10.0
# The tokens that a request of somebody else is taken for.
_FOREIGN_TOKENS = 256.0


class LoadSignal:
    """The load of an engine that this server did not cause, as far as the engine reports it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine if isinstance(engine, ReportsLoad) else None
        self._report: ReportedLoad | None = None
        self._received = 0.0

    def tokens(self, now: float, running: int) -> float:
        """Returns the tokens of requests that wait at the engine, beyond the `running` ones of this server.

        Those of this server are counted already, and may be among the waiting ones.
        """
        if self._engine is None:
            return 0.0
        report = self._engine.reported_load
        if report is not self._report:
            self._report, self._received = report, now
        if report is None or now - self._received > _VALID_SECONDS:
            return 0.0
        return max(report.waiting - running, 0.0) * _FOREIGN_TOKENS
