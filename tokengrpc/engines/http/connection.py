"""One HTTP/1.1 connection and the responses that come over it, one after another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from tokengrpc.engines.http.parser import ResponseParser

if TYPE_CHECKING:
    from tokengrpc.engines.http.head import Head

# With so much unread, the server is not read from until somebody reads here.
_UNREAD_BYTES = 64 * 1024

# The most that a server may say before it is asked.
_EARLY_BYTES = 64 * 1024


class Unanswered(ConnectionError):
    """The connection was closed before any byte of the answer."""


class Owner(Protocol):
    """Who is told about a connection."""

    def answered(self, connection: Connection, response: Response, *, reusable: bool) -> None:
        """The response has ended, well or not; the connection is the owner's to use again or abort."""

    def lost(self, connection: Connection, response: Response | None) -> None:
        """The connection is closed, maybe in the middle of a response."""


class Response:
    """An answer as it comes, for one task to read. What ends it early is `abort`, not cancelling a read."""

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
        # A plain future: asyncio's streams would cost a token several more calls.
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing more will come; it may not be read yet."""
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
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter
        self.head = self._parser.head

    async def read(self) -> bytes:
        """All of the body that has come, as soon as there is some; nothing at its proper end.

        Raises HTTPError or what broke the connection, after what came before it was returned.
        """
        parts = self._parts
        while not parts:
            if self._connection is None:
                if self._error is not None:
                    raise self._error
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
        """Closes the connection now, unless the answer has ended."""
        if self._connection is not None:
            self._connection.abort()

    def feed(self, data: bytes) -> bool:
        """Takes what has come; returns whether the answer has ended."""
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
        """It has ended, well or not: leaves the connection. Returns whether that may be used again."""
        if self._paused:
            self._resume()
        self._connection = None
        self._error = self._parser.error
        return self._parser.reusable

    def lose(self, error: Exception | None) -> None:
        """The connection is gone, by an error or not."""
        self._connection = None
        parser = self._parser
        if parser.untouched:
            self._error = Unanswered(str(error or "it was closed without an answer"))
        elif error is not None:
            self._error = error
        else:
            parser.close()
            self._error = parser.error
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
    """A connection over TCP or TLS. `idle_timer` is the owner's."""

    def __init__(self, owner: Owner) -> None:
        self.transport: asyncio.Transport
        self.idle_timer: asyncio.TimerHandle | None = None
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._response: Response | None = None
        self._made = False
        self._used = False
        self._early = b""  # what a server said before it was asked: a refusal, or another protocol's greeting
        self._lost = False
        self._error: Exception | None = None

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as anybody knows."""
        return self._made and not self.transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """The number of bytes of the current response that were received and not yet read."""
        return self._response.unread_bytes if self._response is not None else 0

    def send(self, request: bytes) -> Response:
        """Sends a whole request; its answer begins to come. Only while there is no other answer."""
        self._response = response = Response(self, self._loop)
        self._used = True
        if self._early:
            self.data_received(self._early)
            if response.closed:  # refused before it was asked
                self.abort()
                return response
        if not self._lost:
            self.transport.write(request)
        else:
            self._response = None
            response.lose(self._error)
        return response

    def abort(self) -> None:
        """Closes it now. close() would first write out a request that nobody wants any more."""
        if self._made:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, after TLS if there is any."""
        self.transport = cast("asyncio.Transport", transport)
        self._made = True

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        response = self._response
        if response is None:
            self._take_unasked(data)
        elif response.feed(data):
            self._response = None
            # A server may refuse before it has read everything: the rest of the request is still on its way.
            sent = not self.transport.get_write_buffer_size()
            reusable = response.end() and sent and not self.transport.is_closing()
            self._owner.answered(self, response, reusable=reusable)

    def eof_received(self) -> None:
        """The server has said all. By itself a transport would first write out the rest of a request."""
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by whomever."""
        self._lost, self._error = True, exc
        response, self._response = self._response, None
        if response is not None:
            response.lose(exc)
        self._owner.lost(self, response)

    def _take_unasked(self, data: bytes) -> None:
        """Before the first request it may be an answer; later nothing on this connection can be trusted."""
        self._early += data
        if self._used or len(self._early) > _EARLY_BYTES:
            self.abort()
