"""The HTTP side of engines: one session per engine, its connections and how they end."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from tokengrpc.errors import EngineProtocolError, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import SimpleNamespace

# Under the 5 s after which uvicorn (vLLM, SGLang, LiteLLM) closes an idle connection: a request that meets
# the closing would fail.
_KEEPALIVE_SECONDS = 4.0

# After the last event, this long is waited for the body's end, which lets the connection be used again.
_LINGER_SECONDS = 1.0

# Above this size aiohttp wants a body as a file, which it writes in pieces.
_PLAIN_BODY_BYTES = 1024 * 1024

# The most that is read of a body that is no stream.
_BODY_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Connection:
    """What a request was sent over."""

    reused: bool = False


class EngineHTTP:
    """Sends an engine's requests. `connect_timeout` is seconds; everything later is timed by the core."""

    def __init__(self, engine: str, base_url: str, *, connect_timeout: float) -> None:
        self._engine = engine
        self._base_url = base_url.rstrip("/")
        self._connect_timeout = connect_timeout
        self._session: aiohttp.ClientSession | None = None
        self._lingering: dict[aiohttp.ClientResponse, asyncio.TimerHandle] = {}

    def open(self, headers: Mapping[str, str]) -> None:
        """Opens the session, which adds `headers` to each request. Needs a running loop."""
        self._session = aiohttp.ClientSession(
            # Admission bounds how many there are.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            trace_configs=[_tracing()],
        )

    async def close(self) -> None:
        """Closes all connections."""
        for response in list(self._lingering):
            self.hang_up(response)
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        """Sends a body and waits for the response's headers. Cancelling it closes the connection.

        Raises EngineUnavailable when there is no answer, EngineProtocolError when it is not HTTP.
        """
        if self._session is None:
            raise EngineUnavailable(f"engine {self._engine} is not started; wait until the server is ready")
        try:
            return await self._send(self._session, self._base_url + path, body)
        except aiohttp.ClientResponseError as error:
            raise EngineProtocolError(
                f"engine {self._engine} does not speak HTTP at {self._base_url} ({error.message}); "
                "check its base_url"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnavailable(
                f"engine {self._engine} cannot be reached at {self._base_url} "
                f"({error or type(error).__name__}); check that it is running"
            ) from error

    async def _send(self, session: aiohttp.ClientSession, url: str, body: bytes) -> aiohttp.ClientResponse:
        """Sends it, once more if the server closed an idle connection just when it was used again.

        That says nothing about the server (RFC 9112, 9.3.1), and aiohttp repeats only requests that are
        idempotent by their method.
        """
        connection = _Connection()
        try:
            return await _send_once(session, url, body, connection)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not connection.reused:
                raise
        return await _send_once(session, url, body, _Connection())

    def linger(self, response: aiohttp.ClientResponse) -> None:
        """After the last event: lets the connection be used again if the body ends soon. Does not wait."""
        if response.closed:  # it has ended already
            return
        loop = asyncio.get_running_loop()
        self._lingering[response] = loop.call_later(_LINGER_SECONDS, self.hang_up, response)
        response.content.on_eof(partial(self._forget, response))

    def release(self, response: aiohttp.ClientResponse) -> None:
        """Closes the connection now, unless `linger` was called or the body has ended."""
        if response not in self._lingering:
            self.hang_up(response)

    def hang_up(self, response: aiohttp.ClientResponse) -> None:
        """Closes the connection now, unless the body has ended and it is back in the pool."""
        self._forget(response)
        connection = response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()  # close() would first write out a request that nobody reads
        response.close()

    def _forget(self, response: aiohttp.ClientResponse) -> None:
        timer = self._lingering.pop(response, None)
        if timer is not None:
            timer.cancel()


async def _send_once(
    session: aiohttp.ClientSession, url: str, body: bytes, connection: _Connection
) -> aiohttp.ClientResponse:
    return await session.post(
        url,
        data=body if len(body) <= _PLAIN_BODY_BYTES else io.BytesIO(body),
        allow_redirects=False,
        trace_request_ctx=connection,
    )


def _tracing() -> aiohttp.TraceConfig:
    """Fills in each request's `_Connection`."""

    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(reused)
    return tracing


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """A body up to a bound; what is longer is cut."""
    body = b""
    while len(body) < _BODY_BYTES and (chunk := await response.content.readany()):
        body += chunk
    return body


def unread(content: aiohttp.StreamReader) -> bytes:
    """What came before the connection broke; aiohttp's public methods only raise from then on."""
    return content._read_nowait(-1)
