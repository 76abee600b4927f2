"""When keys were used last: gathered in memory, and noted in the database once a minute."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.ports.tenant_store import TenantStore

INTERVAL = 60.0
"""Seconds between two notes, which concern all keys that were used since."""

log = structlog.get_logger(__name__)


class KeyUses:
    """Last uses of keys. What cannot be noted now is noted next time."""

    def __init__(self, store: TenantStore, *, call_timeout: float, interval: float = INTERVAL) -> None:
        """Takes the store, and in seconds the timeout of its calls and the time between two notes."""
        self._store = store
        self._timeout = call_timeout
        self._interval = interval
        self._times: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, key_id: str, time_ns: int) -> None:
        """Takes a use of a key."""
        self._times[key_id] = time_ns

    def start(self) -> None:
        """Begins to note uses."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Notes what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._note()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._note()

    async def _note(self) -> None:
        times, self._times = self._times, {}
        if not times:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._store.note_use(times)
        except (StoreUnavailable, TimeoutError) as error:
            self._keep(times)
            cause = getattr(error, "message", "timeout")
            log.warning("the last use of keys was not noted, and will be later", cause=cause)
        except Exception:
            log.exception("unexpected error while noting the last use of keys")

    def _keep(self, times: Mapping[str, int]) -> None:
        self._times = {**times, **self._times}
