"""Timeouts and retries of store calls: each call has a timeout, and is repeated within a total time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog

from tokengrpc.errors import StoreUnavailable, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_DELAY, _LONGEST_DELAY = 0.05, 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePatience:
    """Time limits on the calls of one store, in seconds. `jitter` returns numbers from 0 to 1.

    Any failure of a store, also an unexpected exception, which is logged, is raised as StoreUnavailable.
    """

    store: str
    call_timeout: float
    retry_time: float
    jitter: Callable[[], float] = random.random

    async def once(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes one call. Raises StoreUnavailable if it fails or takes longer than `call_timeout`."""
        try:
            async with asyncio.timeout(self.call_timeout):
                return await call()
        except TimeoutError:
            raise StoreUnavailable(
                f"the {self.store} did not answer within {self.call_timeout:g} s: try again later"
            ) from None
        except TokenGrpcError:
            raise
        except Exception:
            log.exception("unexpected error in a store", store=self.store)
            raise StoreUnavailable(f"the {self.store} failed: try again later") from None

    async def quietly(self, call: Callable[[], Awaitable[None]]) -> None:
        """Makes one call. A failure is logged and not raised."""
        try:
            await self.once(call)
        except TokenGrpcError as error:
            log.warning("a store call failed", store=self.store, cause=error.message)

    async def retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes an idempotent call, and repeats it after StoreUnavailable for up to `retry_time`."""
        now = asyncio.get_running_loop().time
        deadline = now() + self.retry_time
        for delay in self.delays():
            try:
                return await self.once(call)
            except StoreUnavailable:
                if now() + delay >= deadline:
                    raise
            await asyncio.sleep(delay)
        raise AssertionError("delays do not end")

    def delays(self) -> Delays:
        """Returns the delays after consecutive failures: exponential backoff with jitter."""
        return Delays(self.jitter)


class Delays:
    """Endless iterator of delays in seconds."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._next = _FIRST_DELAY

    def __iter__(self) -> Delays:
        return self

    def __next__(self) -> float:
        delay, self._next = self._next, min(self._next * 2, _LONGEST_DELAY)
        return delay * (0.5 + self._jitter())
