"""Timeouts and retries of store calls: each call has a timeout, and is repeated within a total time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from tokengrpc.core.ports.log import LogRefused
from tokengrpc.errors import StoreUnavailable, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_DELAY, _LONGEST_DELAY = 0.05, 2.0

log = structlog.get_logger(__name__)


class Watch(Protocol):
    """What is known of a store."""

    @property
    def available(self) -> bool:
        """Whether the store is not known to be away."""

    def check(self) -> None:
        """Raises StoreUnavailable if the store is known to be away."""

    def failed(self, error: StoreUnavailable) -> None:
        """Takes the failure of a call."""

    async def wait(self, seconds: float) -> None:
        """Returns once the store is available, or after some seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePatience:
    """Time limits on the calls of one store, in seconds. `jitter` returns numbers from 0 to 1.

    Any failure of a store, also an unexpected exception, which is logged, is raised as StoreUnavailable. With
    a `watch`, calls fail at once while the store is known to be away, and retries wait until it is back.
    """

    store: str
    call_timeout: float
    retry_time: float
    jitter: Callable[[], float] = random.random
    watch: Watch | None = None

    @property
    def available(self) -> bool:
        """Whether the store is not known to be away."""
        return self.watch is None or self.watch.available

    async def once(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes one call. Raises StoreUnavailable if it fails or takes longer than `call_timeout`."""
        if self.watch is None:
            return await self._bounded(call)
        self.watch.check()
        try:
            return await self._bounded(call)
        except StoreUnavailable as error:
            self.watch.failed(error)
            raise

    async def _bounded(self, call: Callable[[], Awaitable[T]]) -> T:
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

    async def quietly(self, call: Callable[[], Awaitable[object]]) -> None:
        """Makes one call. A failure is logged and not raised."""
        try:
            await self.once(call)
        except TokenGrpcError as error:
            log.warning("a store call failed", store=self.store, cause=error.message)

    async def retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes an idempotent call, and repeats it after StoreUnavailable for up to `retry_time`.

        A log that is refused is refused again: that is raised at once.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + self.retry_time
        for delay in self.delays():
            try:
                return await self.once(call)
            except LogRefused:
                raise
            except StoreUnavailable:
                if now() + delay >= deadline:
                    raise
            await asyncio.sleep(delay)
            if self.watch is not None:
                await self.watch.wait(max(0.0, deadline - now()))
        raise AssertionError("delays do not end")

    def delays(self, longest: float = _LONGEST_DELAY) -> Delays:
        """Returns the delays after consecutive failures: exponential backoff with jitter."""
        return Delays(self.jitter, longest)


class Delays:
    """Endless iterator of delays in seconds, which grow up to `longest`, half as much more by jitter."""

    def __init__(self, jitter: Callable[[], float], longest: float = _LONGEST_DELAY) -> None:
        self._jitter = jitter
        self._longest = longest
        self._next = min(_FIRST_DELAY, longest)

    def __iter__(self) -> Delays:
        return self

    def __next__(self) -> float:
        delay, self._next = self._next, min(self._next * 2, self._longest)
        return delay * (0.5 + self._jitter())
