"""A TCP server that runs a script per connection, below HTTP, and a client for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any, Self

from tokengrpc.engines.http.client import EngineHTTP

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tokengrpc.engines.http.connection import Response

    Script = Callable[["Peer"], Awaitable[object]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """One connection of a client, as the server sees it.

    `answered` is set once bytes were written to the client, `done` when the script has ended.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.answered = asyncio.Event()
        self.done = asyncio.Event()

    async def request(self) -> bytes:
        """Reads the next request, including its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return head + await self.reader.readexactly(length)

    async def answer(self, data: bytes) -> None:
        """Writes bytes to the client."""
        self.writer.write(data)
        await self.writer.drain()
        self.answered.set()

    async def until_closed(self) -> None:
        """Reads until the client closes the connection."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """Resets the connection (RST)."""
        plug = self.writer.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Server:
    """A server that runs a script for each connection, and closes the connection when the script ends."""

    def __init__(
        self,
        script: Callable[[Peer], Awaitable[object]],
        tls: ssl.SSLContext | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._script = script
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.peers: list[Peer] = []
        self._host = host
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def all_done(self) -> None:
        """Waits until the scripts of all connections have ended."""
        async with asyncio.timeout(10):
            for peer in self.peers:
                await peer.done.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        task = asyncio.ensure_future(self._run(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, peer: Peer) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._script(peer)
        finally:
            peer.writer.close()
            peer.done.set()


@contextlib.asynccontextmanager
async def client(
    port: int, *, scheme: str = "http", host: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[EngineHTTP]:
    """Opens an HTTP client for a server."""
    settings = {"connect_timeout": 5.0, **settings}
    http = EngineHTTP("e", f"{scheme}://{host}:{port}/v1/", **settings)
    http.open({"Accept-Encoding": "identity"})
    try:
        yield http
    finally:
        await http.close()


async def drain(response: Response) -> tuple[bytes, Exception | None]:
    """Reads a body to its end. Returns it with the error that interrupted it, if any."""
    body = b""
    try:
        while data := await response.read():
            body += data
    except (OSError, ValueError) as error:
        return body, error
    return body, None


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.answer(OK)
