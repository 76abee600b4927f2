"""Logs when an engine that is being called sends no output for too long, and when it does again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from tokengrpc.core.catalog import Catalog
    from tokengrpc.core.clock import Clock

INTERVAL = 1.0
"""Seconds between two looks at the engines."""

log = structlog.get_logger(__name__)


class SilenceWatch:
    """Task that watches all engines."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._silent: set[tuple[str, str]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self, catalog: Catalog) -> None:
        """Starts the task."""
        self._task = asyncio.get_running_loop().create_task(self._watch(catalog))

    async def stop(self) -> None:
        """Ends the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _watch(self, catalog: Catalog) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            self.look(catalog)

    def look(self, catalog: Catalog) -> None:
        """Logs what has changed since the last look."""
        now = self._clock.now_ns() / 1e9
        for model in catalog.all():
            for pooled in model.pool.engines:
                place, silent = (model.name, pooled.engine.name), pooled.is_silent(now)
                if silent and place not in self._silent:
                    self._silent.add(place)
                    seconds = round(pooled.silent_seconds(now), 1)
                    log.warning(
                        "engine sends no output", model=place[0], engine=place[1], silent_seconds=seconds
                    )
                elif not silent and place in self._silent:
                    self._silent.remove(place)
                    log.info("engine is not silent any more", model=place[0], engine=place[1])
