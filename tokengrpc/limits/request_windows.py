"""Requests in any minute: the moving windows of the library `limits`, in memory or in Redis."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from limits.aio.storage import MemoryStorage

_SWEEP = 60.0


class WindowStorage(Protocol):
    """What is used of a storage of `limits`."""

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Adds an entry unless there are `limit` already."""

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Returns the time of the oldest entry in the window, and the number of entries."""


class BoundedMemory(MemoryStorage):
    """Storage in memory that keeps no more entries than a limit, and drops idle keys once a minute.

    The library's own sweep visits every key on a thread, again and again while there are requests.
    """

    def __init__(self) -> None:
        super().__init__()
        # The library starts its sweep only while this task has ended.
        self.timer = asyncio.get_running_loop().create_task(self._sweep())

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """See `WindowStorage`."""
        acquired = await super().acquire_entry(key, limit, expiry, amount)
        del self.events[key][limit:]
        return acquired

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            now = time.time()
            for key in [key for key, events in self.events.items() if not events or events[0].expiry < now]:
                await self.clear(key)


class RequestWindows:
    """Windows of requests, by key."""

    def __init__(self, storage: WindowStorage, seconds: int) -> None:
        self._storage = storage
        self._seconds = seconds

    async def wait(self, key: str, limit: int) -> float:
        """Returns in how many seconds one more request fits into a window; 0 if it does now."""
        oldest, count = await self._storage.get_moving_window(key, limit, self._seconds)
        return max(0.001, oldest + self._seconds - time.time()) if count >= limit else 0.0

    async def take(self, key: str, limit: int) -> bool:
        """Counts a request, unless the window is full."""
        return await self._storage.acquire_entry(key, limit, self._seconds)
