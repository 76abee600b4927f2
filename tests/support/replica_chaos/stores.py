"""An event store that fails: killed, cut off, failed over to a replica that lags, restored from a snapshot.

Servers reach its primary through a proxy each, which stands for a fixed name.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from tests.support.redis_servers import Machines
from tests.support.tcp_proxy import TcpProxy
from tokengrpc.core.model import GenerationKey
from tokengrpc.stores.redis.entries import Entry, entry_id
from tokengrpc.stores.redis.keys import KeyNames

if TYPE_CHECKING:
    from tests.support.redis_servers import RedisServer

_OPTIONS = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
_PATIENCE = 30.0
_NAMES = KeyNames("tokengrpc")


class ChaosStore:
    """A primary with two replicas, one of which acknowledges. `proxies` are the servers' ways to it."""

    def __init__(self, ways: int) -> None:
        self._stack = AsyncExitStack()
        self._ways = ways
        self._changing = asyncio.Lock()
        self.proxies: list[TcpProxy] = []
        self.primary: RedisServer
        self._replicas: list[RedisServer]

    async def __aenter__(self) -> Self:
        machines = self._stack.enter_context(Machines())
        self.primary = await asyncio.to_thread(machines.single, _OPTIONS)
        # Not by an option, which they would obey again when they are started as the primary.
        self._replicas = [await asyncio.to_thread(machines.single, _OPTIONS) for _ in range(2)]
        for replica in self._replicas:
            replica.call("REPLICAOF", "127.0.0.1", self.primary.port)
        await self._settle()
        for _ in range(self._ways):
            self.proxies.append(await self._stack.enter_async_context(TcpProxy(self.primary.port)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def url(self, way: int) -> str:
        """Returns the URL of the store for one server."""
        return f"redis://127.0.0.1:{self.proxies[way].port}"

    async def cut(self, way: int, seconds: float) -> None:
        """Cuts one server off for some seconds."""
        self.proxies[way].vanish()
        await asyncio.sleep(seconds)
        await self.proxies[way].listen()

    async def fail_over(self, lag: float) -> None:
        """Kills the primary, and promotes a replica that has nothing of its last `lag` seconds."""
        async with self._changing:
            await self._fail_over(lag)

    async def _fail_over(self, lag: float) -> None:
        behind, other = self._replicas
        behind.call("REPLICAOF", "NO", "ONE")
        await asyncio.sleep(lag)
        await asyncio.to_thread(self.primary.stop)
        killed, self.primary, self._replicas = self.primary, behind, [other, self.primary]
        other.call("REPLICAOF", "127.0.0.1", self.primary.port)
        for proxy in self.proxies:
            proxy.lead_to(self.primary.port)
        await asyncio.to_thread(killed.start)
        killed.call("REPLICAOF", "127.0.0.1", self.primary.port)
        await self._settle()

    async def restart(self, *, snapshot_age: float = 0.0) -> None:
        """Kills the primary, and starts it with a snapshot from that many seconds before."""
        async with self._changing:
            self.primary.call("SAVE")
            await asyncio.sleep(snapshot_age)
            await asyncio.to_thread(self.primary.stop)
            await asyncio.to_thread(self.primary.start)
            await self._settle()

    async def _settle(self) -> None:
        """Returns once both replicas follow the primary."""
        async with asyncio.timeout(_PATIENCE):
            while not all(  # noqa: ASYNC110 - other processes connect
                b"master_link_status:up" in replica.call("INFO", "replication") for replica in self._replicas
            ):
                await asyncio.sleep(0.02)

    async def entries(self, generation_id: str) -> list[Entry]:
        """Returns the ids of a log's entries, as they are in the store, whoever wrote them."""
        log = _NAMES.log(GenerationKey("default", generation_id))
        async with self._changing:
            incarnation: bytes | None = self.primary.call("HGET", log, "incarnation")
            if incarnation is None:
                return []
            found = self.primary.call("XRANGE", f"{log}:{incarnation.decode()}", "-", "+")
        return [entry_id(entry) for entry in found]


def broken(entries: list[Entry]) -> str:
    """Says what is wrong with the ids of a log's entries: gaps, or one of an owner after its next one's."""
    if [entry.sequence for entry in entries] != list(range(1, len(entries) + 1)):
        return "the log's sequences have gaps or come twice"
    epochs = [entry.epoch for entry in entries]
    return "" if epochs == sorted(epochs) else f"a fenced server has written: epochs {epochs}"
