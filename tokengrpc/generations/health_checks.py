"""Asks engines how they are while no traffic tells it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.ports.engine import Checkable
from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.catalog import Catalog
    from tokengrpc.core.clock import Clock
    from tokengrpc.core.routing import EnginePool, PooledEngine

_JITTER = 0.25
_PATIENCE = 5.0
"""Seconds, at most: an engine that takes longer for so little is not well."""

log = structlog.get_logger(__name__)


class HealthChecks:
    """One task for each engine that can be checked, unless its interval is 0."""

    def __init__(self, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        """`jitter` gives numbers from 0 to 1, so that engines and replicas do not ask all at once."""
        self._clock = clock
        self._jitter = jitter
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, catalog: Catalog) -> None:
        """Begins, for all engines that have been started."""
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
            if pooled.needs_check(self._now()):
                well = await self._slot_request(engine, pooled.engine.name, min(interval, _PATIENCE))
                pooled.checked(self._now(), succeeded=well)
                pool.serve_waiters(self._now())

    async def _slot_request(self, engine: Checkable, name: str, patience: float) -> bool:
        try:
            async with asyncio.timeout(patience):
                await engine.check()
        except (TokenGrpcError, TimeoutError) as error:
            log.debug("an engine's check did not go well", engine=name, error=type(error).__name__)
            return False
        except Exception:
            log.exception("an engine's check failed by a bug", engine=name)
            return False
        return True

    def _now(self) -> float:
        return self._clock.now_ns() / 1e9
