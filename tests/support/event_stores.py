"""The event stores of this project, for tests of the port."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from tokengrpc.stores.memory import MemoryEventSink, MemoryLogs
from tokengrpc.stores.redis.keys import KeyNames
from tokengrpc.stores.redis.options import RedisOptions
from tokengrpc.stores.redis.sealing import Sealed, Unsealed
from tokengrpc.stores.redis.servers.address import read_address
from tokengrpc.stores.redis.servers.topology import Access
from tokengrpc.stores.redis.sink import RedisEventSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import pytest

    from tests.support.redis_servers import RedisServer
    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import EventSink
    from tokengrpc.stores.redis.sealing import Sealer

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


class RedisEventStore:
    """Replicas on a real server."""

    def __init__(self, server: RedisServer, options: RedisOptions, sealer: Sealer | None = None) -> None:
        self.options = options
        self._server = server
        self._names = KeyNames(options.prefix)
        self._sealer = sealer or Unsealed()
        self._sinks: list[RedisEventSink] = []

    async def replica(self, name: str) -> RedisEventSink:
        """See `EventStore`."""
        access = Access(replica=name, timeout=5.0)
        sink = RedisEventSink(read_address(self._server.url), self.options, access, self._sealer)
        await sink.start()
        self._sinks.append(sink)
        return sink

    async def close(self) -> None:
        """Closes all replicas, and empties the server."""
        for sink in self._sinks:
            await sink.close()
        self._server.call("FLUSHALL")

    async def pass_leases(self, *keys: GenerationKey) -> None:
        """See `EventStore`."""
        for key in keys:
            if self._server.call("EXISTS", self._names.log(key)):
                self._server.call("HSET", self._names.log(key), "leased_until", 1)
                self._server.call("ZADD", self._names.running, "XX", 1, self._names.hash(key))

    async def trim(self, key: GenerationKey, count: int) -> None:
        """See `EventStore`."""
        self._server.call("XTRIM", self._stream(key), "MINID", f"{count + 1}-0")

    async def lose(self, key: GenerationKey, after: int) -> None:
        """See `EventStore`."""
        stream = self._stream(key)
        entries = self._server.call("XRANGE", stream, "-", f"{after}-18446744073709551615")
        self._server.call("DEL", stream)
        for entry_id, fields in entries:
            self._server.call("XADD", stream, entry_id, *fields)

    async def drop(self, key: GenerationKey) -> None:
        """See `EventStore`."""
        self._server.call("DEL", self._names.log(key), self._stream(key))

    def _stream(self, key: GenerationKey) -> str:
        incarnation = self._server.call("HGET", self._names.log(key), "incarnation").decode()
        return self._names.stream(key, incarnation)


@asynccontextmanager
async def redis_fsynced(request: pytest.FixtureRequest) -> AsyncIterator[RedisEventStore]:
    """A store on Redis that writes to disk."""
    store = RedisEventStore(
        request.getfixturevalue("redis_fsynced_server"), RedisOptions(durability="fsynced", lease=LEASE)
    )
    yield store
    await store.close()


@asynccontextmanager
async def valkey_replicated(request: pytest.FixtureRequest) -> AsyncIterator[RedisEventStore]:
    """A store on Valkey with a replica. What it keeps is encrypted."""
    store = RedisEventStore(
        request.getfixturevalue("valkey_replicated_server"), RedisOptions(lease=LEASE), Sealed([bytes(32)])
    )
    yield store
    await store.close()


EVENT_STORES: list[Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[EventStore]]] = [
    memory,
    redis_fsynced,
    valkey_replicated,
]
