"""A TCP proxy in front of a server, which keeps its port while servers come and go behind it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tokengrpc.testing.frames import TokenCounter
from tokengrpc.testing.relay import Relay

_CHUNK = 64 * 1024
_LONGEST_WAIT = 1.0


class _Drop:
    """A drop of all connections that waits until some more tokens have been let through."""

    def __init__(self, tokens: int) -> None:
        self.to_produce = self.to_pass = tokens
        self.done = asyncio.Event()


class Proxy(Relay):
    """A proxy that keeps its port while servers come and go. While there is none, connections are reset."""

    def __init__(self) -> None:
        super().__init__()
        self._clients: set[asyncio.StreamWriter] = set()
        self._servers: set[asyncio.StreamWriter] = set()
        self._planned: _Drop | None = None

    async def close(self) -> None:
        """Closes all connections, and accepts no more."""
        for writer in (*self._clients, *self._servers):
            writer.transport.abort()
        await super().close()

    def lead_to(self, upstream_port: int) -> None:
        """Closes all connections. New ones go to another server."""
        self.upstream_port = upstream_port
        self.drop()

    def drop(self) -> None:
        """Ends all connections after what was let through, which clients receive before the end.

        A connection that is closed at once may be reset, and then a client loses what it has not read yet.
        Replaces a planned drop.
        """
        if self._planned is not None:
            self._planned.done.set()
            self._planned = None
        for writer in self._servers:
            writer.transport.abort()
        for writer in self._clients:
            if not writer.is_closing():
                writer.write_eof()

    def drop_after(self, tokens: int) -> None:
        """Closes all connections, once, after this many more tokens in all were let through to clients."""
        self._planned = _Drop(tokens)

    async def admit(self, tokens: int) -> None:
        """Waits until the server may send so many more tokens: nothing follows the last one before a drop."""
        planned = self._planned
        if planned is not None:
            if planned.to_produce <= 0:
                await self._wait_for(planned)
            planned.to_produce -= tokens

    async def _wait_for(self, planned: _Drop) -> None:
        """Waits for a drop, which comes after a second at the latest: unary calls let no token through."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT):
                await planned.done.wait()
        if not planned.done.is_set():
            self.drop()

    def _connected(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        """See `Relay`."""
        self._clients.add(client)
        self._servers.add(server)

    async def send_up(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """Forwards what a client sends until it closes its connection, even if the server is gone."""
        with suppress(ConnectionError):
            while data := await client.read(_CHUNK):
                if not server.is_closing():
                    server.write(data)
        self._clients.discard(back)
        self._servers.discard(server)
        server.close()
        back.close()

    async def send_down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Forwards what a server sends until one of both closes the connection."""
        counter = TokenCounter()
        with suppress(ConnectionError):
            while (data := await server.read(_CHUNK)) and not client.is_closing():
                client.write(data)
                await client.drain()
                self._passed(-counter.count + counter.feed(data))
        with suppress(ConnectionError, RuntimeError):
            client.write_eof()

    def _passed(self, tokens: int) -> None:
        planned = self._planned
        if planned is None:
            return
        planned.to_pass -= tokens
        if planned.to_pass <= 0:
            self.drop()
