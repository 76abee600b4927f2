"""A TCP proxy before an engine that keeps the bytes of each connection, and who closed it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Connection:
    """The bytes of a connection: `sent` by tokengrpc, `received` from the engine."""

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    closed_by: str = ""
    """The side that closed it first: `tokengrpc` or `engine`. Empty while it is open."""

    def payloads(self) -> list[Any]:
        """Returns the JSON objects of the events that the engine sent, in order."""
        found = re.findall(rb"^data: ?(\{.*\})\r?$", unchunked(bytes(self.received)), re.MULTILINE)
        return [json.loads(line) for line in found]


def unchunked(data: bytes) -> bytes:
    """Returns the bodies of responses with chunked transfer coding, without the sizes of the chunks."""
    body, rest = b"", data.partition(b"\r\n\r\n")[2]
    while size := re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", rest):
        end = size.end() + int(size[1], 16)
        body, rest = body + rest[size.end() : end], rest[end + 2 :]
    return body or rest


class Recorder:
    """A proxy that listens on `port`, and records."""

    def __init__(self, engine_port: int) -> None:
        self.engine_port = engine_port
        self.port = 0
        self.connections: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def sent(self) -> bytes:
        """All bytes that tokengrpc sent."""
        return b"".join(bytes(connection.sent) for connection in self.connections)

    def payloads(self) -> list[Any]:
        """Returns the JSON objects of all events that the engine sent."""
        return [payload for connection in self.connections for payload in connection.payloads()]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.engine_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers += (writer, up_writer)
        kept = Connection()
        self.connections.append(kept)
        for name, source, sink, copy in (
            ("tokengrpc", reader, up_writer, kept.sent),
            ("engine", up_reader, writer, kept.received),
        ):
            task = asyncio.create_task(_pump(name, source, sink, copy, kept))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pump(
    name: str,
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    copy: bytearray,
    kept: Connection,
) -> None:
    other = "engine" if name == "tokengrpc" else "tokengrpc"
    closing = name
    try:
        while data := await source.read(65536):
            copy += data
            # An error now is that of the side that is written to.
            closing = other
            sink.write(data)
            await sink.drain()
            closing = name
        kept.closed_by = kept.closed_by or name
        sink.close()
    except ConnectionError:
        # A reset arrives as one, and is passed on as one.
        kept.closed_by = kept.closed_by or closing
        sink.transport.abort()
