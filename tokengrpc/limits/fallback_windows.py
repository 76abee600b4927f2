"""Windows of requests and tokens that are counted by this process alone while the shared ones are away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from tokengrpc.errors import StoreUnavailable
from tokengrpc.limits.request_windows import BoundedMemory
from tokengrpc.limits.token_windows import MemoryTokenWindows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokengrpc.core.ports.budget import RateWindows

T = TypeVar("T")


class Watched(Protocol):
    """What is known of the store of the shared windows."""

    @property
    def available(self) -> bool:
        """Whether the store is not known to be away."""

    def failed(self, error: StoreUnavailable) -> None:
        """Takes the failure of a call."""


class FallbackWindows:
    """Shared windows, and while they are away, windows of this process, each with the whole limit.

    So several processes allow more than the limit together, but none allows more than that alone.
    """

    def __init__(self, shared: RateWindows, watch: Watched, seconds: int, timeout: float) -> None:
        """Takes the seconds of a window, and the timeout of a call in seconds."""
        self._shared = shared
        self._watch = watch
        self._timeout = timeout
        self._tokens = MemoryTokenWindows(seconds)
        self._requests: BoundedMemory | None = None

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """See `RateWindows`."""
        return await self._first(
            lambda: self._shared.acquire_entry(key, limit, expiry, amount),
            lambda: self._memory().acquire_entry(key, limit, expiry, amount),
        )

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """See `RateWindows`."""
        return await self._first(
            lambda: self._shared.get_moving_window(key, limit, expiry),
            lambda: self._memory().get_moving_window(key, limit, expiry),
        )

    async def take(self, key: str, limit: int, amount: int) -> tuple[float, int]:
        """See `RateWindows`. Returns a negative second if it was counted by this process."""

        async def take_here() -> tuple[float, int]:
            wait, second = await self._tokens.take(key, limit, amount)
            return wait, -second

        return await self._first(lambda: self._shared.take(key, limit, amount), take_here)

    async def correct(self, key: str, second: int, change: int) -> None:
        """See `RateWindows`. While the shared windows are away, what they counted stays."""
        if second < 0:
            await self._tokens.correct(key, -second, change)
        else:
            await self._first(lambda: self._shared.correct(key, second, change), _nothing)

    async def close(self) -> None:
        """See `RateWindows`."""
        if self._requests is not None and self._requests.timer is not None:
            self._requests.timer.cancel()
        await self._shared.close()

    def _memory(self) -> BoundedMemory:
        if self._requests is None:
            self._requests = BoundedMemory()
        return self._requests

    async def _first(self, shared: Callable[[], Awaitable[T]], own: Callable[[], Awaitable[T]]) -> T:
        if self._watch.available:
            try:
                async with asyncio.timeout(self._timeout):
                    return await shared()
            except TimeoutError:
                self._watch.failed(StoreUnavailable("the store of rates does not answer: try again later"))
            except StoreUnavailable as error:
                self._watch.failed(error)
        return await own()


async def _nothing() -> None:
    """Counts nothing."""
