"""The part of a TCP proxy that accepts clients and connects each of them to a server."""

from __future__ import annotations

import asyncio
import socket
import struct

_NO_LINGER = struct.pack("ii", 1, 0)


class Relay:
    """Listens on `port`, and connects every client to the server on `upstream_port`.

    Subclasses forward the bytes, in one task for each direction of a connection.
    """

    def __init__(self, upstream_port: int = 0) -> None:
        self.upstream_port = upstream_port
        self.port = 0
        self._place: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def target(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Accepts connections, on the same port as before."""
        if self._place is None:
            # It never listens. It keeps the port while connections are refused, which anybody could take.
            self._place = socket.socket()
            self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._place.bind(("127.0.0.1", 0))
            self.port = self._place.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def refuse(self) -> None:
        """Refuses new connections. Open ones stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Refuses new connections, and forwards nothing more."""
        self.refuse()
        if self._place is not None:
            self._place.close()
            self._place = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send_up(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """Forwards what a client sends. `back` is the way back to it."""
        raise NotImplementedError

    async def send_down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Forwards what a server sends."""
        raise NotImplementedError

    def _connected(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        """Notes a new connection, and the one to the server that belongs to it."""

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            reset(writer)
            return
        self._connected(writer, server_writer)
        for work in (self.send_up(reader, server_writer, writer), self.send_down(server_reader, writer)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def reset(writer: asyncio.StreamWriter) -> None:
    """Breaks a connection by a reset (RST), as if a host or a middlebox failed. Data in transit is lost."""
    plug = writer.get_extra_info("socket")
    if plug is not None and plug.fileno() >= 0:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
