"""A TCP proxy between a client and a server that breaks connections for real.

    async with TcpProxy(server_port) as proxy:
        ...  # connect to 127.0.0.1:proxy.port
        proxy.cut()  # resets every connection

Breaking means a reset (RST), as when a host or a middlebox goes away: what was on its way is lost.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Self

_NO_LINGER = struct.pack("ii", 1, 0)
_CHUNK = 64 * 1024
_KEPT = 2 * _CHUNK


class TcpProxy:
    """Listens on `port` and connects every caller to the server."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.port = 0
        self.accepted_count = 0
        self.cut_count = 0
        self._passed = b""
        self._bytes_left: int | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.vanish()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def target(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    @property
    def open_count(self) -> int:
        """Connections that are open: one per caller."""
        return len(self._writers) // 2

    async def listen(self) -> None:
        """Accepts connections, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Accepts no more connections: callers are refused. Those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self) -> None:
        """Resets all connections, on both sides."""
        self.cut_count += bool(self._writers)
        for writer in tuple(self._writers):
            _reset(writer)
        self._writers.clear()
        self._passed = b""

    def delivered(self, text: bytes) -> bool:
        """Whether callers' machines have acknowledged all bytes, this text among the newest of them.

        Since the last cut. gRPC does not compress by default, so that texts go by as they are.
        """
        return text in self._passed and not any(map(_unacknowledged, self._writers))

    def vanish(self) -> None:
        """Resets all connections and refuses new ones, until it listens again."""
        self.refuse()
        self.cut()

    def lead_to(self, upstream_port: int) -> None:
        """Resets all connections; new ones lead to another server."""
        self.upstream_port = upstream_port
        self.cut()

    def cut_after_bytes(self, count: int) -> None:
        """Lets so many more bytes through to callers, over all connections, and cuts then, once."""
        self._bytes_left = count

    def pause(self) -> None:
        """Lets nothing through any more; connections stay open."""
        self._flowing.clear()

    def resume(self) -> None:
        """Lets everything through again."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_count += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, up_writer}
        for source, sink, down in ((reader, up_writer, False), (up_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, down=down))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, down: bool) -> None:
        try:
            while data := await source.read(_CHUNK):
                await self._flowing.wait()
                let_through = self._let_through(data) if down else data
                sink.write(let_through)
                await sink.drain()
                if down:
                    self._passed = (self._passed + let_through)[-_KEPT:]
                if len(let_through) < len(data):
                    self.cut()
        except ConnectionError:
            pass
        finally:
            self._writers.discard(sink)
            sink.close()

    def _let_through(self, data: bytes) -> bytes:
        if self._bytes_left is None:
            return data
        if len(data) <= self._bytes_left:
            self._bytes_left -= len(data)
            return data
        let_through, self._bytes_left = data[: self._bytes_left], None
        return let_through


def _reset(writer: asyncio.StreamWriter) -> None:
    plug = writer.get_extra_info("socket")
    if plug is not None and plug.fileno() >= 0:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


def _unacknowledged(writer: asyncio.StreamWriter) -> int:
    """How many bytes the other side's kernel has not told to have."""
    waiting = writer.transport.get_write_buffer_size()
    plug = writer.get_extra_info("socket")
    if plug is None or plug.fileno() < 0:
        return waiting
    (queued,) = struct.unpack("i", fcntl.ioctl(plug.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    return int(waiting + queued)
