"""The connections of a store: one for appends, one for reads, one for all other commands, one for cancels."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import RedisError

from tokengrpc.errors import StoreUnavailable
from tokengrpc.generations.patience import Delays
from tokengrpc.stores.redis.reading.readers import BlockingReader, PollingReader
from tokengrpc.stores.redis.servers.calls import Calls
from tokengrpc.stores.redis.servers.checks import check_access, check_server
from tokengrpc.stores.redis.servers.pipe import PipeSettings, hang_up
from tokengrpc.stores.redis.servers.start_errors import start_error
from tokengrpc.stores.redis.servers.topology import topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio.connection import AbstractConnection

    from tokengrpc.stores.redis.keys import KeyNames
    from tokengrpc.stores.redis.options import RedisOptions
    from tokengrpc.stores.redis.reading.readers import Reader
    from tokengrpc.stores.redis.servers.address import Host, StoreAddress
    from tokengrpc.stores.redis.servers.topology import Access


T = TypeVar("T")


class Connections:
    """All connections of one replica. In a cluster, one of each kind per node. None is made per reader."""

    def __init__(self, address: StoreAddress, options: RedisOptions, access: Access, names: KeyNames) -> None:
        self.topology = topology(address, access)
        self._options = options
        self._timeout = access.timeout
        self._names = names
        self._replica = access.replica
        self._parts: list[Calls | Reader] = []
        self._commands: Calls | None = None
        self._appends: Calls | None = None
        self._reader: Reader | None = None

    @property
    def commands(self) -> Calls:
        """Calls that are not appends."""
        return _started(self._commands)

    @property
    def appends(self) -> Calls:
        """Appends, which gather for the time that the settings define."""
        return _started(self._appends)

    @property
    def reader(self) -> Reader:
        """The reads of followed streams."""
        return _started(self._reader)

    async def start(self) -> None:
        """Checks the primaries. Raises ConfigError or StoreUnavailable if they cannot keep the promise."""
        try:
            await self.topology.start()
            for host in self.topology.hosts():
                connection = await self.topology.connect(host, "check")
                try:
                    await check_server(connection, self._options)
                    await self._check_access(connection, host)
                finally:
                    await hang_up(connection)
        except (RedisError, OSError, TimeoutError) as error:
            raise start_error(error, self._timeout) from None
        self._commands = self._calls("commands", 0.0)
        self._appends = self._calls("appends", self._options.group_delay)
        if self.topology.clustered:
            self._reader = PollingReader(self._calls("reads", 0.0), self._options.poll_interval)
        else:
            self._reader = BlockingReader(
                self.topology, self._commands, self._names.wake(self._replica), self.backoff, self._timeout
            )
        self._parts.append(self._reader)

    async def close(self) -> None:
        """Disconnects. Calls that are under way fail."""
        while self._parts:
            await self._parts.pop().close()

    async def _check_access(self, connection: AbstractConnection, host: Host) -> None:
        names = (name for name in self._names.checks() if self.topology.host_of(name) == host)
        if (name := next(names, None)) is not None:
            await check_access(connection, name, self._names.cancels(self._replica))

    def backoff(self) -> Iterator[float]:
        """Returns delays between attempts to connect, in seconds. Several fit into the time of one call."""
        return (min(delay, self._timeout / 4) for delay in Delays(random.random))

    def _calls(self, purpose: str, delay: float) -> Calls:
        settings = PipeSettings(
            delay=delay,
            timeout=self._timeout,
            replicas=self._options.acknowledgements,
            backoff=self.backoff,
        )
        calls = Calls(purpose, self.topology, settings)
        self._parts.append(calls)
        return calls


def _started(part: T | None) -> T:
    if part is None:
        raise StoreUnavailable("the event store was not started")
    return part
