"""One HTTP/1.1 connection and its responses, one after another."""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING, Protocol, cast

from tokengrpc.engines.http.parser import ResponseParser

if TYPE_CHECKING:
    from tokengrpc.engines.http.head import Head

# With more than this unread, the socket is not read until the response is read.
_UNREAD_BYTES = 64 * 1024

# The most that a server may send before the first request.
_EARLY_BYTES = 64 * 1024


class Unanswered(ConnectionError):
    """The connection was closed before any byte of the response."""


class Owner(Protocol):
    """What a connection notifies."""

    def answered(self, connection: Connection, response: Response, *, reusable: bool) -> None:
        """The response has ended, regularly or not; the owner reuses the connection or aborts it."""

    def lost(self, connection: Connection, response: Response | None) -> None:
        """The connection is closed, perhaps in the middle of a response."""


class Response:
    """A response for one task to read. `abort` ends it early; cancelling a read does not."""

    __slots__ = (
        "_connection",
        "_error",
        "_loop",
        "_parser",
        "_parts",
        "_paused",
        "_unread",
        "_waiter",
        "head",
    )

    head: Head

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection: Connection | None = connection
        self._loop = loop
        self._parser = ResponseParser()
        self._parts: list[bytes] = []
        self._unread = 0
        self._paused = False
        # A plain future: asyncio's streams would cost several more calls per token.
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing more will arrive. What has arrived may still be unread."""
        return self._connection is None

    @property
    def unread_bytes(self) -> int:
        """The number of bytes of the body that were received and not yet read."""
        return self._unread

    @property
    def paused(self) -> bool:
        """Whether the server is not read from until the unread bytes are read."""
        return self._paused

    async def start(self) -> None:
        """Waits for `head`. Raises Unanswered, HTTPError or what broke the connection."""
        while self._parser.head is None:
            if self._error is not None:
                raise copy(self._error)  # with the traceback, it would refer to what refers to it
            self._waiter = self._loop.create_future()
            await self._waiter
        self.head = self._parser.head

    async def read(self) -> bytes:
        """Returns all of the body that has arrived, as soon as there is any; nothing at its regular end.

        Raises HTTPError or what broke the connection, after everything before it was returned.
        """
        parts = self._parts
        while not parts:
            if self._connection is None:
                if self._error is not None:
                    raise copy(self._error)
                return b""
            self._waiter = waiter = self._loop.create_future()
            await waiter
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._unread = 0
        if self._paused:
            self._resume()
        return data

    def abort(self) -> None:
        """Closes the connection now, unless the response has ended."""
        if self._connection is not None:
            self._connection.abort()

    def feed(self, data: bytes) -> bool:
        """Parses what has arrived. Returns whether the response has ended."""
        parser = self._parser
        body = parser.feed(data)
        waiter = self._waiter
        if body:
            self._parts.append(body)
            self._unread += len(body)
            if self._unread > _UNREAD_BYTES and not self._paused:
                self._pause()
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        return parser.ended or parser.error is not None

    def end(self) -> bool:
        """Leaves the connection, because the response has ended. Returns whether that is reusable."""
        if self._paused:
            self._resume()
        self._connection = None
        self._error = self._parser.error
        return self._parser.reusable

    def lose(self, error: Exception | None) -> None:
        """Ends the response, because the connection is closed, by an error or not."""
        self._connection = None
        parser = self._parser
        parser.close()
        if parser.untouched:
            self._error = Unanswered(str(error or "it was closed without a response"))
        else:
            self._error = error or parser.error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pause(self) -> None:
        if self._connection is not None:
            self._paused = True
            self._connection.transport.pause_reading()

    def _resume(self) -> None:
        self._paused = False
        if self._connection is not None and not self._connection.transport.is_closing():
            self._connection.transport.resume_reading()


class Connection(asyncio.Protocol):
    """A connection over TCP or TLS. `idle_timer` belongs to the owner."""

    def __init__(self, owner: Owner) -> None:
        self.transport: asyncio.Transport
        self.idle_timer: asyncio.TimerHandle | None = None
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._response: Response | None = None
        self._made = False
        self._used = False
        self._early = b""  # sent before the first request: a refusal, or another protocol's greeting
        self._lost = False
        self._error: Exception | None = None

    @property
    def usable(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._made and not self.transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """The number of bytes of the current response that were received and not yet read."""
        return self._response.unread_bytes if self._response is not None else 0

    def send(self, request: bytes) -> Response:
        """Sends a whole request and returns its response. There must be no other response under way."""
        self._response = response = Response(self, self._loop)
        self._used = True
        if self._early:
            self.data_received(self._early)
            if response.closed:  # refused before the request
                self.abort()
                return response
        if not self._lost:
            self.transport.write(request)
        else:
            self._response = None
            response.lose(self._error)
        return response

    def abort(self) -> None:
        """Closes the connection now. close() would first write the rest of a request in vain."""
        if self._made:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open, after the TLS handshake if there is one."""
        self.transport = cast("asyncio.Transport", transport)
        self._made = True

    def data_received(self, data: bytes) -> None:
        """Bytes of a response have arrived."""
        response = self._response
        if response is None:
            self._take_unasked(data)
        elif response.feed(data):
            self._response = None
            # A server may refuse before it has read everything: then the rest of the request is unsent.
            sent = not self.transport.get_write_buffer_size()
            reusable = response.end() and sent and not self.transport.is_closing()
            self._owner.answered(self, response, reusable=reusable)

    def eof_received(self) -> None:
        """The server sends no more. By itself a transport would first write the rest of a request."""
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side."""
        self._lost, self._error = True, exc
        response, self._response = self._response, None
        if response is not None:
            response.lose(exc)
        self._owner.lost(self, response)

    def _take_unasked(self, data: bytes) -> None:
        """Keeps bytes before the first request, a possible response. After it, gives the connection up."""
        self._early += data
        if self._used or len(self._early) > _EARLY_BYTES:
            self.abort()
