"""A TCP proxy before an engine that keeps the bytes of each connection, and who closed it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Connection:
    """The bytes of a connection: `sent` by tokengrpc, `received` from the engine."""

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    closed_by: str = ""
    """The side that closed it first: `tokengrpc` or `engine`. Empty while it is open."""

    def payloads(self) -> list[Any]:
        """Returns the JSON objects of the events that the engine sent, in order."""
        found = re.findall(rb"^data: ?(\{.*\})\r?$", bodies(bytes(self.received)), re.MULTILINE)
        return [json.loads(line) for line in found]

    def grpc_messages_sent(self) -> list[bytes]:
        """Returns the messages that tokengrpc sent over gRPC, in the order of their streams."""
        streams: dict[int, bytearray] = {}
        data = bytes(self.sent).removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        while len(data) >= 9:
            end = 9 + int.from_bytes(data[:3])
            # Type 0 is DATA. gRPC pads no frame.
            if data[3] == 0:
                streams.setdefault(int.from_bytes(data[5:9]), bytearray()).extend(data[9:end])
            data = data[end:]
        return [message for stream in streams.values() for message in _grpc_messages(bytes(stream))]


def _grpc_messages(data: bytes) -> Iterator[bytes]:
    while len(data) >= 5:
        end = 5 + int.from_bytes(data[1:5])
        yield data[5:end]
        data = data[end:]


def bodies(data: bytes) -> bytes:
    """Returns the bodies of all responses on a connection, without the sizes of chunks."""
    found = b""
    while data.startswith(b"HTTP/1."):
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
        if length is not None:
            found, data = found + data[: int(length[1])], data[int(length[1]) :]
        while size := re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", data):
            end = size.end() + int(size[1], 16)
            found, data = found + data[size.end() : end], data[end + 2 :]
    return found


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

    def grpc_messages_sent(self) -> list[bytes]:
        """Returns the messages of all connections that tokengrpc sent over gRPC."""
        return [message for connection in self.connections for message in connection.grpc_messages_sent()]

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
