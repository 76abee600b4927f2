"""Health checks of engines that have no traffic."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.pooled_engine import failure_of
from tokengrpc.core.ports.engine import Checkable
from tokengrpc.errors import EngineUnavailable, Internal, Overloaded, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.catalog import Catalog
    from tokengrpc.core.clock import Clock
    from tokengrpc.core.pooled_engine import EngineFailure, PooledEngine
    from tokengrpc.core.routing import EnginePool

_JITTER = 0.25
_PATIENCE = 5.0
"""Longest timeout of a check, in seconds."""

log = structlog.get_logger(__name__)


class _NotAsked(Exception):
    """Check that could not be made, or that would have disturbed the engine."""


class HealthChecks:
    """Tasks that check engines: one for each engine that supports checks, unless its interval is 0."""

    def __init__(self, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        """Takes a source of random numbers from 0 to 1, so that checks of many replicas do not coincide."""
        self._clock = clock
        self._jitter = jitter
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, catalog: Catalog) -> None:
        """Starts the tasks. The engines must have been started."""
        for model in catalog.all():
            for pooled in model.pool.engines:
                if pooled.check_interval and isinstance(pooled.engine, Checkable):
                    watching = self._watch(model.pool, pooled, pooled.engine)
                    self._tasks.append(asyncio.get_running_loop().create_task(watching))

    async def stop(self) -> None:
        """Ends all tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _watch(self, pool: EnginePool, pooled: PooledEngine, engine: Checkable) -> None:
        interval = pooled.check_interval
        while True:
            await asyncio.sleep(interval * (1 - _JITTER + 2 * _JITTER * self._jitter()))
            began = self._now()
            if pooled.needs_check(began):
                try:
                    failure = await self._check(engine, pooled.engine.name, min(interval, _PATIENCE))
                except _NotAsked:
                    continue
                pooled.checked(self._now(), succeeded=failure is None, began=began, failure=failure)
                pool.serve_waiters(self._now())

    async def _check(self, engine: Checkable, name: str, patience: float) -> EngineFailure | None:
        """Returns why a check failed; None if it succeeded. Raises _NotAsked if the engine was not asked."""
        try:
            async with asyncio.timeout(patience):
                checked = await engine.check()
        except Overloaded:  # this server could not ask
            raise _NotAsked from None
        except TimeoutError:
            unavailable = EngineUnavailable(f"engine {name} did not answer a health check in {patience:g} s")
            return failure_of(unavailable)
        except TokenGrpcError as error:
            return failure_of(error)
        except Exception:
            log.exception("unexpected error in a health check", engine=name)
            return failure_of(Internal(f"the health check of engine {name} raised: its traceback is above"))
        if checked is False:
            raise _NotAsked
        return None

    def _now(self) -> float:
        return self._clock.now_ns() / 1e9
