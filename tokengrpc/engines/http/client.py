"""The HTTP side of engines: an engine's connections, their use one after another, and how they end."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokengrpc.engines.http.connect import Origin, dial
from tokengrpc.engines.http.connection import Connection, Response, Unanswered
from tokengrpc.engines.http.head import HTTPError, Malformed
from tokengrpc.errors import EngineProtocolError, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

# Under the 5 s after which uvicorn (vLLM, SGLang, LiteLLM) closes an idle connection: a request that meets
# the closing would fail.
KEEPALIVE_SECONDS = 4.0

# After the last event, this long is waited for the body's end, which lets the connection be used again.
_LINGER_SECONDS = 1.0

# A request that meets the closing of an idle connection hears of it within a round trip. Whoever closes later
# may have begun to work on it, and sending it again would do the work twice.
RESEND_SECONDS = 1.0

# The most that is read of a body that is no stream.
_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStats:
    """The state of an engine's connections at one moment."""

    open_count: int
    lingering_count: int
    """Connections whose response is complete for its reader, but whose body has not ended yet."""
    unread_bytes: int
    """Bytes that were received and not yet read."""


class EngineHTTP:
    """Sends an engine's requests. `connect_timeout` is seconds; everything later is timed by the core."""

    def __init__(self, engine: str, base_url: str, *, connect_timeout: float) -> None:
        self._engine = engine
        self._base_url = base_url.rstrip("/")
        self._connect_timeout = connect_timeout
        self._origin: Origin | None = None  # while it is open
        self._head = b""
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._lingering: dict[Response, asyncio.TimerHandle] = {}

    def open(self, headers: Mapping[str, str]) -> None:
        """Gets ready to send requests with `headers`. Raises ValueError for headers that cannot be sent."""
        self._origin = origin = Origin.parse(self._base_url)
        fields = {"Host": origin.authority, "User-Agent": "tokengrpc", **headers}
        for name, value in fields.items():
            if any(ord(character) < 32 for character in name + value):
                raise ValueError(f"the header {name!r} of engine {self._engine} has a line break in it")
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._head = f" HTTP/1.1\r\n{lines}Content-Length: ".encode()

    def stats(self) -> ConnectionStats:
        """Returns the current state of the connections."""
        return ConnectionStats(
            open_count=len(self._connections),
            lingering_count=len(self._lingering),
            unread_bytes=sum(connection.unread_bytes for connection in self._connections),
        )

    async def close(self) -> None:
        """Closes all connections."""
        self._origin = None
        for response in list(self._lingering):
            self._forget(response)
        for connection in list(self._connections):
            self._retire(connection)
            connection.abort()
        await asyncio.sleep(0)  # transports close their sockets in the loop's next turn

    async def post(self, path: str, body: bytes, *, connect_timeout: float | None = None) -> Response:
        """Sends a body and waits for the response's headers. Cancelling it closes the connection.

        `connect_timeout` is a shorter bound, in seconds, on the wait for a connection than the engine's own.
        Raises EngineUnavailable when there is no answer, EngineProtocolError when it is not HTTP.
        """
        limit = min(connect_timeout or self._connect_timeout, self._connect_timeout)
        return await self._ask("POST", path, body, limit)

    async def get(self, path: str) -> Response:
        """The same without a body."""
        return await self._ask("GET", path, b"", self._connect_timeout)

    async def _ask(self, method: str, path: str, body: bytes, limit: float) -> Response:
        if self._origin is None:
            raise EngineUnavailable(f"engine {self._engine} is not started; wait until the server is ready")
        line = f"{method} {self._origin.path}{path}".encode("ascii")
        request = b"%b%b%d\r\n\r\n%b" % (line, self._head, len(body), body)
        try:
            return await self._send(self._origin, request, limit)
        except Malformed as error:
            raise EngineProtocolError(
                f"engine {self._engine} does not speak HTTP ({error}); check its base_url"
            ) from error
        except (HTTPError, OSError, UnicodeError) as error:
            raise EngineUnavailable(
                f"engine {self._engine} cannot be reached ({cause(error)}); check that it is running"
            ) from error

    async def _send(self, origin: Origin, request: bytes, connect_timeout: float) -> Response:
        """Sends it, once more if the server closed an idle connection just when it was used again.

        That says nothing about the server (RFC 9112, 9.3.1).
        """
        connection = self._take_idle()
        if connection is not None:
            now = asyncio.get_running_loop().time
            sent = now()
            try:
                return await _exchange(connection, request)
            except Unanswered:
                if now() - sent >= RESEND_SECONDS:
                    raise
        return await _exchange(await self._connect(origin, connect_timeout), request)

    async def _connect(self, origin: Origin, limit: float) -> Connection:
        clock = asyncio.timeout(limit)
        try:
            async with clock:
                connection = await self._dial(origin)
        except TimeoutError:
            if not clock.expired():  # the system gave up by itself
                raise
            raise EngineUnavailable(
                f"engine {self._engine} gave no connection within {limit:g} s; check that it is running",
                metadata={"clock": "connect", "limit_seconds": f"{limit:g}"},
            ) from None
        if self._origin is None:
            connection.abort()
            raise ConnectionError("it was stopped")
        if connection.usable:
            self._connections.add(connection)
        return connection

    async def _dial(self, origin: Origin) -> Connection:
        return await dial(origin, lambda: Connection(self))

    def linger(self, response: Response) -> None:
        """After the last event: lets the connection be used again if the body ends soon. Does not wait."""
        if response.closed or response in self._lingering:  # it has ended already, or will
            return
        loop = asyncio.get_running_loop()
        self._lingering[response] = loop.call_later(_LINGER_SECONDS, self.hang_up, response)

    def release(self, response: Response) -> None:
        """Closes the connection now, unless `linger` was called or the body has ended."""
        if response not in self._lingering:
            self.hang_up(response)

    def hang_up(self, response: Response) -> None:
        """Closes the connection now, unless the body has ended and it is back in the pool."""
        self._forget(response)
        response.abort()

    def answered(self, connection: Connection, response: Response, *, reusable: bool) -> None:
        """A response has ended: its connection waits for the next request, or is closed."""
        self._forget(response)
        if not reusable or self._origin is None:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_timer = loop.call_later(KEEPALIVE_SECONDS, connection.abort)
        self._idle.append(connection)

    def lost(self, connection: Connection, response: Response | None) -> None:
        """A connection is closed."""
        self._retire(connection)
        if response is not None:
            self._forget(response)

    def _take_idle(self) -> Connection | None:
        """The connection that was used last, so that those too many grow old."""
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_timer is not None:
                connection.idle_timer.cancel()
            if connection.usable:
                return connection
        return None

    def _retire(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.idle_timer is not None:
            connection.idle_timer.cancel()

    def _forget(self, response: Response) -> None:
        timer = self._lingering.pop(response, None)
        if timer is not None:
            timer.cancel()


def cause(error: Exception) -> str:
    """Why a connection failed, without the address that such errors name: callers are told."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    if isinstance(error, UnicodeError):
        return "its base_url holds no host name"
    if isinstance(error, OSError) and error.errno is not None:
        # asyncio's own words about a refused connection hold the address.
        return os.strerror(error.errno) if error.errno > 0 else error.strerror or type(error).__name__
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        return str(error) or type(error).__name__
    return type(error).__name__


async def _exchange(connection: Connection, request: bytes) -> Response:
    response = connection.send(request)
    try:
        await response.start()
    except BaseException:
        connection.abort()
        raise
    return response


async def read_body(response: Response) -> bytes:
    """A body up to a bound; what is longer is cut."""
    body = b""
    while len(body) < _BODY_BYTES and (chunk := await response.read()):
        body += chunk
    return body
