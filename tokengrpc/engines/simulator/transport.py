"""A connection within the process: a server's bytes reach the HTTP client as if a socket had brought them."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

from tokengrpc.engines.http.client import EngineHTTP
from tokengrpc.engines.http.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tokengrpc.engines.http.connect import Origin

_HEAD = b"HTTP/1.1 %d Simulated\r\nContent-Type: %b\r\n%b"
_STREAM_HEAD = _HEAD % (200, b"text/event-stream", b"Transfer-Encoding: chunked\r\n\r\n")


class Wire(asyncio.Transport):
    """The client's transport, and in its last methods the server's side of it."""

    def __init__(self, connection: Connection, serve: Callable[[Wire], Coroutine[None, None, None]]) -> None:
        super().__init__()
        self._connection = connection
        self._serve = serve
        self._closing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Task[None] | None = None

    # The client's side.

    def write(self, _: bytes | bytearray | memoryview) -> None:
        """A request: what it asks is known otherwise, so that it only begins the answer."""
        if self._server is None and not self._closing:
            self._server = asyncio.get_running_loop().create_task(self._serve(self))

    def get_write_buffer_size(self) -> int:
        """All is taken at once."""
        return 0

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._closing

    def pause_reading(self) -> None:
        """The server waits."""
        self._flowing.clear()

    def resume_reading(self) -> None:
        """The server goes on."""
        self._flowing.set()

    def close(self) -> None:
        """As `abort`: nothing is buffered."""
        self.abort()

    def abort(self) -> None:
        """The client hangs up, which stops the server."""
        if not self._closing:
            self._lose(None)
            if self._server is not None:
                self._server.cancel()

    async def wait_served(self) -> None:
        """Returns when the server's task has ended."""
        if self._server is not None:
            await asyncio.wait([self._server])

    # The server's side.

    async def send_head(self) -> None:
        """Accepts: the head of an event stream."""
        await self._send(_STREAM_HEAD)

    async def refuse(self, status: int, body: bytes, retry_after: float) -> None:
        """Answers with a status."""
        more = b"Content-Length: %d\r\n" % len(body)
        if retry_after:
            more += b"Retry-After: %d\r\n" % round(retry_after)
        await self._send(_HEAD % (status, b"application/json", more + b"\r\n") + body)

    async def send(self, data: bytes) -> None:
        """A part of the body, as one chunk."""
        if data:
            await self._send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """The proper end of the body."""
        await self._send(b"0\r\n\r\n")

    def reset(self) -> None:
        """The connection breaks."""
        if not self._closing:
            self._lose(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    async def _send(self, data: bytes) -> None:
        await self._flowing.wait()
        if self._closing:
            raise ConnectionResetError("the client has hung up")
        self._connection.data_received(data)
        # What comes next is another read, as it would be from a socket.
        await asyncio.sleep(0)

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        self._flowing.set()
        asyncio.get_running_loop().call_soon(self._connection.connection_lost, error)


class WiredHTTP(EngineHTTP):
    """An HTTP client whose connections lead to a server within the process: late, or not at all."""

    def __init__(
        self,
        engine: str,
        serve: Callable[[Wire], Coroutine[None, None, None]],
        *,
        connect_timeout: float,
        delay: float,
        refused: bool,
    ) -> None:
        super().__init__(engine, "http://simulated/v1", connect_timeout=connect_timeout)
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
