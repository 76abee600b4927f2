"""The event stores of this project, for tests of the port."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from tokengrpc.stores.memory import MemoryEventSink, MemoryLogs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import pytest

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import EventSink

LEASE = 2.0


class EventStore(Protocol):
    """A store, and what happens to it."""

    async def replica(self, name: str) -> EventSink:
        """Returns a started replica. It is closed with the store."""

    async def pass_leases(self, *keys: GenerationKey) -> None:
        """Ends the leases of logs, as time does."""

    async def trim(self, key: GenerationKey, count: int) -> None:
        """Drops the oldest records of a log."""

    async def lose(self, key: GenerationKey, after: int) -> None:
        """Drops the records after a sequence, as a failover to an older copy does."""

    async def drop(self, key: GenerationKey) -> None:
        """Drops a log, as its expiry does."""


class MemoryEventStore:
    """Replicas in memory with a clock that stands still."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.logs = MemoryLogs(lambda: self.seconds)

    async def replica(self, name: str) -> MemoryEventSink:
        """See `EventStore`."""
        return MemoryEventSink(name, self.logs, lease=LEASE)

    async def pass_leases(self, *keys: GenerationKey) -> None:
        """See `EventStore`."""
        for key in keys:
            if (log := self.logs.find(key)) is not None:
                log.leased_until = self.seconds

    async def trim(self, key: GenerationKey, count: int) -> None:
        """See `EventStore`."""
        if (log := self.logs.find(key)) is not None:
            del log.records[:count]
            log.dropped += count

    async def lose(self, key: GenerationKey, after: int) -> None:
        """See `EventStore`."""
        if (log := self.logs.find(key)) is not None:
            del log.records[after - log.dropped :]

    async def drop(self, key: GenerationKey) -> None:
        """See `EventStore`."""
        self.logs.delete(key)


@asynccontextmanager
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[MemoryEventStore]:
    """Makes a store in memory."""
    yield MemoryEventStore()


EVENT_STORES: list[Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[EventStore]]] = [memory]
