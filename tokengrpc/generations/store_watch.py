"""The state of the event store, one for the process: available or away."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.ports.log import LogRefused
from tokengrpc.core.ports.observer import StoreStateChanged
from tokengrpc.errors import StoreUnavailable
from tokengrpc.generations.ended_logs import EndedLogs

if TYPE_CHECKING:
    from tokengrpc.core.ports.log import EventSink
    from tokengrpc.generations.observers import Observers
    from tokengrpc.generations.patience import Delays, StorePatience

STORE = "event_store"
"""Name of the store for observers."""

_QUESTIONS = 8
"""How often per lease, at least, it is asked for: owners have to notice before others take over."""

log = structlog.get_logger(__name__)


class StoreWatch:
    """Whether the event store answers. A failed call makes it away; then it alone asks until it is back.

    So while the store is away, no caller waits for a timeout. If `strict`, new generations are refused
    meanwhile; otherwise they, and those that run, have their events in memory only.
    """

    def __init__(
        self, sink: EventSink, patience: StorePatience, observers: Observers, *, strict: bool
    ) -> None:
        """`patience` bounds each question; its delays lie between them."""
        self.strict = strict
        self.memory_only = 0
        """Number of generations with events that are in memory only."""
        self.healing: set[asyncio.Task[None]] = set()
        """Tasks that write such events when the store is back. They are cancelled at the end."""
        self.ended = EndedLogs()
        """Logs whose end is written again when the store is back, should it have lost it."""
        self._sink = sink
        self._patience = patience
        self._observers = observers
        self._started = False
        self._available = asyncio.Event()
        self._available.set()
        self._since = -math.inf
        self._delays = self._backoff()
        self._asking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether the store is not known to be away."""
        return self._available.is_set()

    @property
    def settled(self) -> bool:
        """Whether owners have had the time of a lease to renew theirs, after the store was away."""
        return self.available and asyncio.get_running_loop().time() - self._since >= self._sink.lease

    async def start(self) -> None:
        """Starts the store. If it is away, raises StoreUnavailable if `strict`; otherwise keeps trying."""
        try:
            await self._sink.start()
            self._started = True
        except StoreUnavailable as error:
            if self.strict:
                raise
            self.failed(error)

    async def close(self) -> None:
        """Closes the store. Whoever waits for it gets StoreUnavailable."""
        self._closed = True
        self._available.set()
        tasks = {*self.healing, *(() if self._asking is None else (self._asking,))}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._sink.close()

    def check_available(self) -> None:
        """Raises StoreUnavailable if no generation may start now."""
        if self.strict and not self.available:
            raise _away()

    def check(self) -> None:
        """Raises StoreUnavailable if the store is known to be away."""
        if not self.available:
            raise _away()

    def failed(self, error: StoreUnavailable) -> None:
        """Takes the failure of a call."""
        if self._closed or not self.available or isinstance(error, LogRefused):
            return
        if self.settled:
            self._delays = self._backoff()
        self._available.clear()
        log.warning(
            "the event store is away: new generations are refused"
            if self.strict
            else "the event store is away: events are in memory only",
            cause=error.message,
        )
        self._observers.emit(StoreStateChanged(store=STORE, available=False))
        self._asking = asyncio.get_running_loop().create_task(self._ask())

    async def wait(self, seconds: float | None = None) -> None:
        """Returns once the store is available, or after some seconds. Raises StoreUnavailable at the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._available.wait()
        if self._closed:
            raise StoreUnavailable("the server is shutting down: try another one")

    def _backoff(self) -> Delays:
        return self._patience.delays(self._sink.lease / _QUESTIONS)

    async def _ask(self) -> None:
        for delay in self._delays:
            await asyncio.sleep(delay)
            try:
                async with asyncio.timeout(self._patience.call_timeout):
                    await (self._sink.check() if self._started else self._sink.start())
                break
            except (StoreUnavailable, TimeoutError):
                continue
            except Exception as error:
                log.error("the event store cannot be used", cause=str(error))  # noqa: TRY400 - one line says it
        self._started = True
        self._since = asyncio.get_running_loop().time()
        self._available.set()
        self._observers.emit(StoreStateChanged(store=STORE, available=True))
        confirming = asyncio.get_running_loop().create_task(self.ended.confirm())
        self.healing.add(confirming)
        confirming.add_done_callback(self.healing.discard)


def _away() -> StoreUnavailable:
    return StoreUnavailable("the event store is away: try again later")
