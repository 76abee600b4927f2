"""Topologies: which server has a key, and how to connect to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from tokengrpc.stores.redis.servers.address import Host, Layout
from tokengrpc.stores.redis.servers.pipe import hang_up
from tokengrpc.stores.redis.servers.scripts import Script, source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.stores.redis.servers.address import StoreAddress

log = structlog.get_logger(__name__)

NAMED_PRIMARY = Host("primary", 0)
"""The server that the Sentinels name when a connection is made."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What connections need beside the address. `replica` names this process, `timeout` is in seconds.

    The mappings are arguments of redis-py.
    """

    replica: str
    timeout: float
    credentials: dict[str, Any] = field(default_factory=dict)
    sentinel_credentials: dict[str, Any] = field(default_factory=dict)
    tls: dict[str, Any] = field(default_factory=dict)


class Topology:
    """One server: it has all keys."""

    clustered = False

    def __init__(self, address: StoreAddress, access: Access) -> None:
        self._address = address
        self._access = access

    async def start(self) -> None:
        """Finds the servers. Raises RedisError, OSError or TimeoutError."""

    async def refresh(self) -> None:
        """Finds the servers again, after a change. Raises nothing."""

    def hosts(self) -> Sequence[Host]:
        """Returns the primaries."""
        return self._address.hosts

    def host_of(self, key: str) -> Host:  # noqa: ARG002 - a cluster needs it
        """Returns the server that has a key."""
        return self._address.hosts[0]

    async def connect(self, host: Host, purpose: str) -> AbstractConnection:
        """Connects to a server, and loads the scripts there. Raises RedisError, OSError or TimeoutError."""
        connection = self._connection(host, purpose)
        try:
            async with asyncio.timeout(self._access.timeout):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py has no annotation here
                for script in Script:
                    await connection.send_command("SCRIPT", "LOAD", source(script))
                for _ in Script:
                    await connection.read_response()
        except BaseException:
            await hang_up(connection)
            raise
        return connection

    def _connection(self, host: Host, purpose: str) -> AbstractConnection:
        access, address = self._access, self._address
        kind = SSLConnection if address.tls else Connection
        return kind(
            host=host.name,
            port=host.port,
            db=address.database,
            client_name=f"tokengrpc:{access.replica}:{purpose}",
            protocol=2,
            # Calls are bounded and repeated by us: redis-py's own 5 s and ten retries would cut long reads.
            socket_timeout=None,
            socket_connect_timeout=access.timeout,
            retry=Retry(NoBackoff(), 0),
            **access.credentials,
            **(access.tls if address.tls else {}),
        )


class SentinelTopology(Topology):
    """A primary that Sentinels name. It is looked up for each connection, so after each failover."""

    def __init__(self, address: StoreAddress, access: Access) -> None:
        super().__init__(address, access)
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no annotation here
            address.hosts,
            socket_timeout=access.timeout,
            socket_connect_timeout=access.timeout,
            sentinel_kwargs={
                "socket_timeout": access.timeout,
                "socket_connect_timeout": access.timeout,
                "retry": Retry(NoBackoff(), 0),
                "protocol": 2,
                **({"ssl": True, **access.tls} if address.tls else {}),
                **access.sentinel_credentials,
            },
        )

    def hosts(self) -> Sequence[Host]:
        """See `Topology`."""
        return (NAMED_PRIMARY,)

    def host_of(self, key: str) -> Host:  # noqa: ARG002 - see Topology
        """See `Topology`."""
        return NAMED_PRIMARY

    async def connect(self, host: Host, purpose: str) -> AbstractConnection:  # noqa: ARG002 - the Sentinels name it
        """See `Topology`."""
        try:
            name, port = await self._sentinel.discover_master(self._address.service)
        finally:
            for client in self._sentinel.sentinels:
                await client.connection_pool.disconnect(inuse_connections=False)
        return await super().connect(Host(name, port), purpose)


class ClusterTopology(Topology):
    """A cluster: each primary has some of the 16,384 slots. Any node tells which."""

    clustered = True

    def __init__(self, address: StoreAddress, access: Access) -> None:
        super().__init__(address, access)
        self._slots: list[tuple[int, int, Host]] = []
        self._refreshing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `Topology`."""
        self._slots = await self._read_slots()

    async def refresh(self) -> None:
        """See `Topology`. Several calls at the same time are one."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())
        await asyncio.shield(self._refreshing)

    def hosts(self) -> Sequence[Host]:
        """See `Topology`."""
        return tuple(dict.fromkeys(host for _, _, host in self._slots)) or self._address.hosts

    def host_of(self, key: str) -> Host:
        """See `Topology`."""
        slot = key_slot(key.encode())
        return next((host for first, last, host in self._slots if first <= slot <= last), self.hosts()[0])

    async def _refresh(self) -> None:
        try:
            self._slots = await self._read_slots()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("the cluster's nodes cannot be listed", cause=str(error)[:200])

    async def _read_slots(self) -> list[tuple[int, int, Host]]:
        problem: Exception = OSError("no node")
        for host in dict.fromkeys((*self.hosts(), *self._address.hosts)):
            connection = self._connection(host, "slots")
            try:
                async with asyncio.timeout(self._access.timeout):
                    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py has no annotation here
                    await connection.send_command("CLUSTER", "SLOTS")
                    reply = await connection.read_response()
            except (RedisError, OSError, TimeoutError) as error:
                problem = error
                continue
            finally:
                await hang_up(connection)
            return [(row[0], row[1], _node(row[2], host)) for row in reply]
        raise problem


def _node(row: Sequence[Any], asked: Host) -> Host:
    """Returns the address in a row of CLUSTER SLOTS. A node that does not know its own is the asked one."""
    name = (row[0] or b"").decode()
    return Host(asked.name if name in ("", "?") else name, row[1])


_TOPOLOGIES = {
    Layout.SINGLE: Topology,
    Layout.SENTINEL: SentinelTopology,
    Layout.CLUSTER: ClusterTopology,
}


def topology(address: StoreAddress, access: Access) -> Topology:
    """Returns the topology of an address."""
    return _TOPOLOGIES[address.layout](address, access)
