"""A caller that speaks HTTP/2 by hand: what a gRPC library would not send, and as slowly as a test likes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attack import http2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_STREAM = 1


class Http2Peer:
    """One connection with one call on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def greet(self) -> None:
        """Sends the preface and empty settings."""
        await self.raw(http2.PREFACE + http2.frame(http2.SETTINGS))

    async def greet_without_room(self) -> None:
        """Sends the preface and settings by which the server may send no message."""
        window = (4).to_bytes(2, "big") + (0).to_bytes(4, "big")
        await self.raw(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, window))

    async def call(self, path: str) -> None:
        """Begins a call: sends its headers, and no request yet."""
        await self.raw(http2.frame(http2.HEADERS, http2.END_HEADERS, _STREAM, http2.path_fields(path)))

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Sends bytes of the request, with or without an end of the call's side."""
        await self.raw(http2.frame(http2.DATA, http2.END_STREAM if end else 0, _STREAM, data))

    async def answer(self) -> bytes:
        """Returns the trailers, undecoded. Answers pings meanwhile.

        Raises IncompleteReadError if the connection closes first.
        """
        while True:
            kind, flags, payload = await self._read()
            if kind == http2.HEADERS and flags & http2.END_STREAM:
                return payload

    async def begun(self) -> None:
        """Returns once the headers of the answer have arrived."""
        while (await self._read())[0] != http2.HEADERS:
            pass

    async def closed(self) -> None:
        """Returns when the server has closed the connection. Answers pings until then."""
        try:
            while True:
                await self._read()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return

    async def _read(self) -> tuple[int, int, bytes]:
        head = await self._reader.readexactly(9)
        payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags = head[3], head[4]
        if kind in {http2.SETTINGS, http2.PING} and not flags & http2.ACK:
            await self.raw(http2.frame(kind, http2.ACK, 0, payload if kind == http2.PING else b""))
        return kind, flags, payload


@asynccontextmanager
async def http2_peer(target: str) -> AsyncIterator[Http2Peer]:
    """Opens a connection, which is closed when the block exits."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Http2Peer(reader, writer)
    finally:
        writer.transport.abort()
