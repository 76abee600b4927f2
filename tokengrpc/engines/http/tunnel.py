"""A tunnel through a proxy to a server: the method CONNECT (RFC 9110, 9.3.6)."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

from tokengrpc.engines.http.failures import ProxyDenied, ProxyFailed, cause

if TYPE_CHECKING:
    from tokengrpc.engines.http.origin import Origin

# The most that a proxy may answer before the tunnel.
_HEAD_BYTES = 64 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: |\r?\n)")
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class Tunnel(asyncio.Protocol):
    """The connection to a proxy until it has answered CONNECT."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._made = False
        self._received = b""
        self._answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def open(self, origin: Origin) -> asyncio.Transport:
        """Asks the proxy for a connection to the server. Returns the transport, on which TLS can start.

        Raises ProxyFailed.
        """
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        fields = {
            "Host": f"{host}:{origin.port}",
            "User-Agent": "tokengrpc",
            **(origin.proxy.headers if origin.proxy else {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.transport.write(f"CONNECT {host}:{origin.port} HTTP/1.1\r\n{lines}\r\n".encode())
        status = await self._answer
        if status == 407:
            raise ProxyDenied("its proxy requires a valid user and password (HTTP 407)")
        if not 200 <= status < 300:
            raise ProxyFailed(f"its proxy did not connect to it (HTTP {status})")
        return self.transport

    def abort(self) -> None:
        """Closes the connection."""
        if self._made:
            self.transport.abort()
        self._answer.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The proxy is connected."""
        self.transport = cast("asyncio.Transport", transport)
        self._made = True

    def data_received(self, data: bytes) -> None:
        """A part of the proxy's answer."""
        if self._answer.done():
            return
        self._received += data
        end = _HEAD_END.search(self._received)
        if end is None:
            if len(self._received) > _HEAD_BYTES:
                self._fail("its proxy sent headers of more than 64 KiB")
            return
        status = _STATUS_LINE.match(self._received)
        if status is None:
            self._fail("its proxy does not speak HTTP")
        elif status[1].startswith(b"2") and end.end() != len(self._received):
            self._fail("its proxy sent data before the tunnel was used")
        else:
            self._answer.set_result(int(status[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy is gone."""
        self._fail(f"its proxy closed the connection{f' ({cause(exc)})' if exc else ''}")

    def _fail(self, why: str) -> None:
        if not self._answer.done():
            self._answer.set_exception(ProxyFailed(why))
            self._answer.exception()  # whoever has given up does not read it
