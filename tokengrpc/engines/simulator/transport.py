"""A connection within the process: the HTTP client receives a server's bytes as from a socket."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

from tokengrpc.engines.http.client import EngineHTTP
from tokengrpc.engines.http.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tokengrpc.engines.http.origin import Origin

_HEAD = b"HTTP/1.1 %d Simulated\r\nContent-Type: %b\r\n%b"
_STREAM_HEAD = _HEAD % (200, b"text/event-stream", b"Transfer-Encoding: chunked\r\n\r\n")


class Wire(asyncio.Transport):
    """The client's transport. Its last methods are the server's side."""

    def __init__(self, connection: Connection, serve: Callable[[Wire], Coroutine[None, None, None]]) -> None:
        super().__init__()
        self._connection = connection
        self._serve: Callable[[Wire], Coroutine[None, None, None]] | None = serve
        self._closing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Task[None] | None = None

    # The client's side.

    def write(self, _: bytes | bytearray | memoryview) -> None:
        """Starts the server, which ignores the request's bytes: the script knows the request."""
        if self._serve is not None and not self._closing:
            self._server = asyncio.get_running_loop().create_task(self._serve(self))
            self._server.add_done_callback(self._served)
            self._serve = None

    def get_write_buffer_size(self) -> int:
        """Returns 0, because nothing is buffered."""
        return 0

    def is_closing(self) -> bool:
        """Returns whether the connection is closed."""
        return self._closing

    def pause_reading(self) -> None:
        """Makes the server wait before it sends more."""
        self._flowing.clear()

    def resume_reading(self) -> None:
        """Lets the server send again."""
        self._flowing.set()

    def close(self) -> None:
        """Does what `abort` does, because nothing is buffered."""
        self.abort()

    def abort(self) -> None:
        """Closes the connection from the client's side and cancels the server."""
        if not self._closing:
            self._disconnect(None)
            if self._server is not None:
                self._server.cancel()

    async def wait_served(self) -> None:
        """Waits until the server's task has ended."""
        if self._server is not None:
            await asyncio.wait([self._server])

    def _served(self, _: asyncio.Task[None]) -> None:
        self._server = None  # a task that was cancelled refers to its frames, and they to this wire

    # The server's side.

    async def send_head(self) -> None:
        """Accepts the request: sends the head of an event stream."""
        await self._send(_STREAM_HEAD)

    async def refuse(self, status: int, body: bytes, retry_after: float) -> None:
        """Refuses the request with a status. `retry_after` is in seconds; 0: no such header."""
        headers = b"Content-Length: %d\r\n" % len(body)
        if retry_after:
            headers += b"Retry-After: %d\r\n" % round(retry_after)
        await self._send(_HEAD % (status, b"application/json", headers + b"\r\n") + body)

    async def send(self, data: bytes) -> None:
        """Sends a part of the body as one chunk."""
        if data:
            await self._send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """Ends the body regularly."""
        await self._send(b"0\r\n\r\n")

    def reset(self) -> None:
        """Breaks the connection."""
        if not self._closing:
            self._disconnect(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    async def _send(self, data: bytes) -> None:
        await self._flowing.wait()
        if self._closing:
            raise ConnectionResetError("the client has closed the connection")
        self._connection.data_received(data)
        # Lets the client read this before the next data arrives, as from a socket.
        await asyncio.sleep(0)

    def _disconnect(self, error: Exception | None) -> None:
        self._closing = True
        self._flowing.set()
        asyncio.get_running_loop().call_soon(self._connection.connection_lost, error)
        del self._connection  # which refers to this transport


class WiredHTTP(EngineHTTP):
    """An HTTP client that connects to a server within the process, after a delay, or is refused."""

    def __init__(
        self,
        engine: str,
        serve: Callable[[Wire], Coroutine[None, None, None]],
        *,
        connect_timeout: float,
        delay: float,
        refused: bool,
    ) -> None:
        super().__init__(engine, "http://simulated/v1", connect_timeout=connect_timeout, proxy="none")
        self._serve = serve
        self._delay = delay
        self._refused = refused
        self.wire: Wire | None = None

    async def _dial(self, _: Origin) -> Connection:
        await asyncio.sleep(self._delay)
        if self._refused:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        connection = Connection(self)
        self.wire = Wire(connection, self._serve)
        connection.connection_made(self.wire)
        return connection
