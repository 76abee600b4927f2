"""The connections of a store: one for appends, one for reads, one for all other commands, one for cancels."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import AuthenticationError, RedisError

from tokengrpc.config import ConfigError
from tokengrpc.errors import StoreUnavailable
from tokengrpc.generations.patience import Delays
from tokengrpc.stores.redis.reading.readers import BlockingReader, PollingReader
from tokengrpc.stores.redis.servers.calls import Calls
from tokengrpc.stores.redis.servers.checks import check_server
from tokengrpc.stores.redis.servers.pipe import PipeSettings, hang_up
from tokengrpc.stores.redis.servers.topology import topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.stores.redis.options import RedisOptions
    from tokengrpc.stores.redis.reading.readers import Reader
    from tokengrpc.stores.redis.servers.address import StoreAddress
    from tokengrpc.stores.redis.servers.topology import Access


T = TypeVar("T")


class Connections:
    """All connections of one replica. In a cluster, one of each kind per node. None is made per reader."""

    def __init__(self, address: StoreAddress, options: RedisOptions, access: Access, wake: str) -> None:
        self.topology = topology(address, access)
        self._options = options
        self._timeout = access.timeout
        self._wake = wake
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
                finally:
                    await hang_up(connection)
        except AuthenticationError:
            raise ConfigError(
                "store: the event store refuses the user or the password: see plugins.redis.password_file"
            ) from None
        except (RedisError, OSError, TimeoutError) as error:
            why = str(error) or f"no answer within {self._timeout:g} s"
            raise StoreUnavailable(
                f"the event store cannot be reached: {why[:200]}: start it, or check the address in `store`"
            ) from None
        self._commands = self._calls("commands", 0.0)
        self._appends = self._calls("appends", self._options.group_delay)
        if self.topology.clustered:
            self._reader = PollingReader(self._calls("reads", 0.0), self._options.poll_interval)
        else:
            self._reader = BlockingReader(
                self.topology, self._commands, self._wake, self.backoff, self._timeout
            )
        self._parts.append(self._reader)

    async def close(self) -> None:
        """Disconnects. Calls that are under way fail."""
        while self._parts:
            await self._parts.pop().close()

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
