"""Calls to the server that has a key, through one pipe per server."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis.servers.address import Host
from tokengrpc.stores.redis.servers.pipe import Pipe, Redirected
from tokengrpc.stores.redis.servers.scripts import digest

if TYPE_CHECKING:
    from tokengrpc.stores.redis.servers.pipe import Argument, PipeSettings
    from tokengrpc.stores.redis.servers.scripts import Script
    from tokengrpc.stores.redis.servers.topology import Topology

_MOST_REDIRECTS = 3


class Calls:
    """Calls of one purpose, such as appends. They never wait for those of another purpose."""

    def __init__(self, purpose: str, topology: Topology, settings: PipeSettings) -> None:
        self._purpose = purpose
        self._topology = topology
        self._settings = settings
        self._pipes: dict[Host, Pipe] = {}
        self._gone: set[asyncio.Task[None]] = set()
        self._closed = False

    async def run(self, script: Script, key: str, *arguments: Argument, durable: bool = False) -> Any:  # noqa: ANN401 - scripts return any type
        """Runs a script on a key. Raises StoreUnavailable."""
        return await self.call("EVALSHA", digest(script), 1, key, *arguments, on=key, durable=durable)

    async def call(self, *arguments: Argument, on: str, durable: bool = False) -> Any:  # noqa: ANN401 - replies have any type
        """Makes a call on the server that has a key. Raises StoreUnavailable."""
        host, asking = self._topology.host_of(on), False
        try:
            for _ in range(_MOST_REDIRECTS):
                try:
                    return await self._pipe(host).call(*arguments, durable=durable, asking=asking)
                except Redirected as redirected:
                    # A node that does not know its own name leaves it out.
                    name, port = redirected.address
                    host, asking = Host(name or host.name, port), redirected.ask
                    if not asking:
                        await self._refresh()
        except StoreUnavailable:
            if self._topology.clustered:
                await self._refresh()
            raise
        raise StoreUnavailable("the nodes of the event store's cluster disagree: try again later")

    async def close(self) -> None:
        """Disconnects. Calls that are under way fail, and so do later ones."""
        self._closed = True
        await asyncio.gather(*(pipe.close() for pipe in self._pipes.values()), *self._gone)
        self._pipes.clear()

    def _pipe(self, host: Host) -> Pipe:
        if self._closed:
            raise StoreUnavailable("the event store was closed: try another server")
        pipe = self._pipes.get(host)
        if pipe is None:
            connect = partial(self._topology.connect, host, self._purpose)
            pipe = self._pipes[host] = Pipe(f"{self._purpose} {host}", connect, self._settings)
        return pipe

    async def _refresh(self) -> None:
        await self._topology.refresh()
        for host in set(self._pipes) - set(self._topology.hosts()):
            closing = asyncio.get_running_loop().create_task(self._pipes.pop(host).close())
            self._gone.add(closing)
            closing.add_done_callback(self._gone.discard)
