"""The HTTP client of an engine: its connections, their reuse, and how they end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from tokengrpc.config.values import ConfigError
from tokengrpc.engines.http.connect import dial, resolve
from tokengrpc.engines.http.connection import Connection, Response, Unanswered
from tokengrpc.engines.http.failures import ProxyDenied, ProxyFailed, cause
from tokengrpc.engines.http.head import HTTPError, Malformed
from tokengrpc.engines.http.origin import Origin
from tokengrpc.errors import EngineAuthFailed, EngineProtocolError, EngineUnavailable
from tokengrpc.shortages import SHORTAGES, shortage_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.engines.http.connect import Resolve
    from tokengrpc.engines.http.origin import TLSFiles

# Less than the 5 s after which uvicorn (vLLM, SGLang, LiteLLM) closes an idle connection: a request that is
# sent at that moment would fail.
KEEPALIVE_SECONDS = 4.0

# The wait for the body's end after the last event. The end makes the connection reusable.
_LINGER_SECONDS = 1.0

# A request on an idle connection that the server is closing fails within a round trip. A server that closes
# later may have begun the work, and sending the request again would do the work twice.
RESEND_SECONDS = 1.0

_NO_HEADERS: Mapping[str, str] = {}

# The most that is read of a body that is not a stream.
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
    """An engine's HTTP client. Times are in seconds; what follows the connecting is timed by the core."""

    def __init__(
        self,
        engine: str,
        base_url: str,
        *,
        connect_timeout: float,
        tls_files: TLSFiles | None = None,
        proxy: str = "",
        keepalive: float = KEEPALIVE_SECONDS,
        resend_within: float = RESEND_SECONDS,
        resolve_host: Resolve = resolve,
    ) -> None:
        """`keepalive` bounds the idle time of connections, `resend_within` the time to a second try.

        `proxy` is the setting: a URL, `none`, or empty for the proxy of the environment.
        """
        self._engine = engine
        self._base_url = base_url.rstrip("/")
        self._tls_files = tls_files
        self._proxy = proxy
        self._query = ""
        self._connect_timeout = connect_timeout
        self._keepalive = keepalive
        self._resend_within = resend_within
        self._resolve_host = resolve_host
        self._origin: Origin | None = None  # while it is open
        self._head = b""
        self._fields: Mapping[str, str] = {}
        self._names: frozenset[str] = frozenset()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._lingering: dict[Response, asyncio.TimerHandle] = {}

    def open(self, headers: Mapping[str, str], query: Mapping[str, str] | None = None) -> Origin:
        """Prepares for sending requests with these headers and query parameters.

        Returns where they go. Raises ConfigError for headers, certificates and proxies that cannot be used.
        """
        try:
            origin = Origin.parse(self._base_url, files=self._tls_files, proxy=self._proxy)
        except ValueError as error:
            raise ConfigError(f"engine {self._engine}: {error}") from None
        fields = {"Host": origin.authority}
        if not any(name.lower() == "user-agent" for name in headers):
            fields["User-Agent"] = "tokengrpc"
        fields |= headers
        if origin.proxy is not None and origin.tls is None:
            fields |= origin.proxy.headers
        for name, value in fields.items():
            if any(ord(character) < 32 for character in name + value):
                raise ConfigError(f"the header {name!r} of engine {self._engine} has a line break in it")
        self._fields = fields
        self._names = frozenset(name.lower() for name in fields)
        self._head = _head(fields)
        self._query = f"?{urlencode(query, quote_via=quote)}" if query else ""
        self._origin = origin
        return origin

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

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        connect_timeout: float | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Response:
        """Sends a body and waits for the response's headers. Cancelling it closes the connection.

        `headers` are added to those of all requests, or replace them, and have no line breaks.
        `connect_timeout` is a shorter bound, in seconds, on the wait for a connection than the engine's own.
        Raises EngineUnavailable when there is no answer, EngineProtocolError when it is not HTTP,
        Overloaded when this process is short of files, ports or memory for a connection.
        """
        limit = min(connect_timeout or self._connect_timeout, self._connect_timeout)
        return await self._request("POST", path, body, limit, headers)

    async def get(self, path: str) -> Response:
        """Sends a request without a body; otherwise like `post`."""
        return await self._request("GET", path, b"", self._connect_timeout)

    async def _request(
        self, method: str, path: str, body: bytes, limit: float, headers: Mapping[str, str] = _NO_HEADERS
    ) -> Response:
        if self._origin is None:
            raise EngineUnavailable(f"engine {self._engine} is not started; wait until the server is ready")
        line = f"{method} {self._origin.target}{path}{self._query}".encode("ascii")
        own = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
        head = self._head
        replaced = self._names.intersection(map(str.lower, headers))
        if replaced:
            head = _head(
                {name: value for name, value in self._fields.items() if name.lower() not in replaced}
            )
        request = b"%b%b%d\r\n%b\r\n%b" % (line, head, len(body), own, body)
        try:
            return await self._send(self._origin, request, limit)
        except Malformed as error:
            raise EngineProtocolError(
                f"engine {self._engine} does not speak HTTP ({error}); check its base_url"
            ) from error
        except ProxyDenied as error:
            raise EngineAuthFailed(
                f"engine {self._engine} cannot be reached: {error}; configure them in the URL of the proxy"
            ) from error
        except ProxyFailed as error:
            raise EngineUnavailable(
                f"engine {self._engine} cannot be reached: {error}; check the proxy and its URL"
            ) from error
        except (HTTPError, OSError, UnicodeError) as error:
            raise EngineUnavailable(
                f"engine {self._engine} cannot be reached ({cause(error)}); check that it is running"
            ) from error

    async def _send(self, origin: Origin, request: bytes, connect_timeout: float) -> Response:
        """Sends a request, and again if the server closed an idle connection at the same moment.

        Such a closing does not mean that the server fails (RFC 9112, 9.3.1).
        """
        connection = self._take_idle()
        if connection is not None:
            now = asyncio.get_running_loop().time
            sent = now()
            try:
                return await _exchange(connection, request)
            except Unanswered:
                if now() - sent >= self._resend_within:
                    raise
        return await _exchange(await self._connect(origin, connect_timeout), request)

    async def _connect(self, origin: Origin, limit: float) -> Connection:
        clock = asyncio.timeout(limit)
        try:
            async with clock:
                connection = await self._dial(origin)
        except TimeoutError:
            if not clock.expired():  # the operating system's own timeout
                raise
            raise EngineUnavailable(
                f"engine {self._engine} gave no connection within {limit:g} s"
                + (" through its proxy; check that both are" if origin.proxy else "; check that it is")
                + " running",
                metadata={"clock": "connect", "limit_seconds": f"{limit:g}"},
            ) from None
        if self._origin is None:
            connection.abort()
            raise ConnectionError("it was stopped")
        if connection.usable:
            self._connections.add(connection)
        return connection

    async def _dial(self, origin: Origin) -> Connection:
        """Opens a connection. Raises Overloaded if this process is short of what a connection needs."""
        try:
            return await dial(origin, lambda: Connection(self), self._resolve_host)
        except (OSError, RuntimeError, MemoryError) as error:
            short = shortage_of(error)
            if short:
                raise SHORTAGES.error(short) from error
            raise

    def linger(self, response: Response) -> None:
        """After the last event: makes the connection reusable if the body ends soon. Does not wait."""
        if response.closed or response in self._lingering:
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
        """Keeps the connection of a response that has ended for the next request, or closes it."""
        self._forget(response)
        if not reusable or self._origin is None:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_timer = loop.call_later(self._keepalive, connection.abort)
        self._idle.append(connection)

    def lost(self, connection: Connection, response: Response | None) -> None:
        """Forgets a connection that is closed."""
        self._retire(connection)
        if response is not None:
            self._forget(response)

    def _take_idle(self) -> Connection | None:
        """Returns the connection that was used last, so that surplus ones reach their idle limit."""
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


def _head(fields: Mapping[str, str]) -> bytes:
    """Returns the head of a request with these fields, between its target and the length of its body."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f" HTTP/1.1\r\n{lines}Content-Length: ".encode()


async def _exchange(connection: Connection, request: bytes) -> Response:
    response = connection.send(request)
    try:
        await response.start()
    except BaseException:
        # Not the connection: if the response has ended meanwhile, it may have another request by now.
        response.abort()
        raise
    return response


async def read_body(response: Response) -> bytes:
    """Returns a body; a longer one than 1 MiB is cut."""
    body = b""
    while len(body) < _BODY_BYTES and (chunk := await response.read()):
        body += chunk
    return body
