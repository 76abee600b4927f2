"""How long stores are waited for: each call is bounded in time and repeated within a total time."""

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
    """Bounds on the calls of one store, in seconds. `jitter` returns numbers from 0 to 1.

    Every failure of a store becomes StoreUnavailable here, a bug of it included, which is logged.
    """

    store: str
    call_timeout: float
    retry_time: float
    jitter: Callable[[], float] = random.random

    async def once(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes one call. Raises StoreUnavailable when it fails or takes longer than `call_timeout`."""
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
            log.exception("a store failed", store=self.store)
            raise StoreUnavailable(f"the {self.store} failed: try again later") from None

    async def quietly(self, call: Callable[[], Awaitable[None]]) -> None:
        """Makes one call whose failure concerns nobody but the log."""
        try:
            await self.once(call)
        except TokenGrpcError as error:
            log.warning("a store call failed", store=self.store, cause=error.message)

    async def retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes a call, and again after StoreUnavailable while `retry_time` lasts. The call is idempotent."""
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
        """The times to wait after each failure in a row: exponential backoff with jitter."""
        return Delays(self.jitter)


class Delays:
    """An endless sequence of delays in seconds."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._next = _FIRST_DELAY

    def __iter__(self) -> Delays:
        return self

    def __next__(self) -> float:
        delay, self._next = self._next, min(self._next * 2, _LONGEST_DELAY)
        return delay * (0.5 + self._jitter())
