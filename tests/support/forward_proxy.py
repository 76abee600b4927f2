"""A forward proxy: tunnels by CONNECT, and requests with an absolute URL."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


class ForwardProxy:
    """The proxy. `requests` has the first line of each request, `headers` its headers in lower case.

    `routes` maps `HOST:PORT` to the port on loopback that it connects to instead; other hosts are refused
    with 502. With `credentials`, requests without that Proxy-Authorization are refused with 407. `answer`
    replaces the answer to CONNECT.
    """

    def __init__(
        self, routes: Mapping[str, int], *, credentials: str = "", answer: bytes | None = None
    ) -> None:
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0
        self._routes = routes
        self._credentials = credentials
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL for settings and variables, without user and password."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._run(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        self.requests.append(first)
        self.headers.append({name.lower(): value for name, value in fields.items()})
        method, target, _ = first.split(" ")
        place = target if method == "CONNECT" else _place(target)
        if self._answer is not None:
            writer.write(self._answer)
        elif self._credentials and self.headers[-1].get("proxy-authorization") != self._credentials:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif place not in self._routes:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        else:
            await self._forward(reader, writer, self._routes[place], method, head)
            return
        await writer.drain()
        while await reader.read(65536):  # until the client has closed the connection
            pass

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        port: int,
        method: str,
        head: str,
    ) -> None:
        behind, ahead = await asyncio.open_connection("127.0.0.1", port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            _, target, rest = head.split(" ", 2)
            parts = urlsplit(target)
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            ahead.write(f"{method} {path} {rest}".encode("latin-1"))
        pumps = [asyncio.ensure_future(_pump(reader, ahead)), asyncio.ensure_future(_pump(behind, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            ahead.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 80}"
