"""The heartbeat of a server with an event sink: leases, cancels and readers, over all servers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Protocol

import structlog

from tokengrpc.core.termination import Termination
from tokengrpc.errors import Cancelled, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import EventSink, Lease
    from tokengrpc.generations.patience import StorePatience
    from tokengrpc.generations.subscribers import Subscribers

BEATS = 4
"""Heartbeats per lease."""

log = structlog.get_logger(__name__)


class Owned(Protocol):
    """Generation whose log this server owns. `epoch` is 0 before it does, and after the end."""

    @property
    def key(self) -> GenerationKey:
        """Its tenant and id."""

    @property
    def epoch(self) -> int:
        """The epoch in which this server owns the log."""

    @property
    def subscribers(self) -> Subscribers:
        """Its readers on this server."""

    def leased(self, lease: Lease) -> None:
        """Takes the state of its lease."""

    def stop(self, termination: Termination) -> None:
        """Ends the generation."""


class Counted(Protocol):
    """Generation with readers here."""

    @property
    def key(self) -> GenerationKey:
        """Its tenant and id."""

    @property
    def subscribers(self) -> Subscribers:
        """Its readers on this server."""


class Leases:
    """Renews leases about four times per lease, and tells the generations what it learns of them."""

    def __init__(
        self,
        sink: EventSink,
        patience: StorePatience,
        *,
        owned: Callable[[], Mapping[GenerationKey, Owned]],
        followed: Callable[[], Iterable[Counted]],
    ) -> None:
        self._sink = sink
        self._patience = patience
        self._owned = owned
        self._followed = followed
        self._counted: dict[GenerationKey, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts the heartbeat, and listens for cancels."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._beat()), loop.create_task(self._listen())]

    async def stop(self) -> None:
        """Stops both."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []

    async def _beat(self) -> None:
        beat = 0
        while True:
            await asyncio.sleep(self._sink.lease / BEATS)
            beat += 1
            whole = beat % BEATS == 0
            if not self._patience.available:
                continue
            try:
                await self._count(whole=whole)
                await self._renew()
            except TokenGrpcError as error:
                log.warning("leases cannot be renewed", cause=error.message)
            except Exception:
                log.exception("unexpected error in the heartbeat")

    async def _count(self, *, whole: bool) -> None:
        """Tells the store the numbers of readers here: those that have changed, or the `whole`."""
        readers = {each.key: len(each.subscribers) for each in self._followed()}
        readers |= {key: len(each.subscribers) for key, each in self._owned().items() if each.epoch}
        changed = {key: count for key, count in readers.items() if whole or self._counted.get(key) != count}
        if changed:
            await self._patience.once(lambda: self._sink.count_subscribers(changed))
        self._counted = readers

    async def _renew(self) -> None:
        owned = {key: each for key, each in self._owned().items() if each.epoch}
        if not owned:
            return
        epochs = {key: each.epoch for key, each in owned.items()}
        leases = await self._patience.once(lambda: self._sink.renew(epochs))
        for key, lease in leases.items():
            if owned[key].epoch == epochs[key]:
                owned[key].leased(lease)

    async def _listen(self) -> None:
        delays = self._patience.delays()
        while True:
            with suppress(TokenGrpcError):
                async with aclosing(self._sink.cancels()) as keys:
                    async for key in keys:
                        delays = self._patience.delays()
                        each = self._owned().get(key)
                        if each is not None:
                            each.stop(cancelled_elsewhere())
            await asyncio.sleep(next(delays))


def cancelled_elsewhere() -> Termination:
    """Returns the end of a generation that was cancelled on another server."""
    return Termination.failed(Cancelled("a caller cancelled the generation on another server"))
