"""A TCP proxy between a client and a server that breaks real connections.

    async with TcpProxy(server_port) as proxy:
        ...  # connect to 127.0.0.1:proxy.port
        proxy.cut()  # resets every connection

Connections are broken by a reset (RST), as if a host or a middlebox failed. Data in transit is lost.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from typing import Self

from tokengrpc.testing.relay import Relay, reset

_CHUNK = 64 * 1024
_KEPT = 2 * _CHUNK


class TcpProxy(Relay):
    """A proxy that listens on `port` and connects every client to the server."""

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        self.accepted_count = 0
        self.cut_count = 0
        self.ended_count = 0
        self._passed = b""
        self._bytes_left: int | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.vanish()
        await self.close()

    @property
    def open_count(self) -> int:
        """The number of open connections, one per client."""
        return len(self._writers) // 2

    def cut(self) -> None:
        """Resets all connections, on both sides."""
        self.cut_count += bool(self._writers)
        for writer in tuple(self._writers):
            reset(writer)
        self._writers.clear()
        self._passed = b""

    def end(self) -> None:
        """Closes all connections regularly, on both sides, after what was let through."""
        self.ended_count += bool(self._writers)
        for writer in tuple(self._writers):
            writer.close()
        self._writers.clear()

    def delivered(self, text: bytes) -> bool:
        """Returns whether the clients' kernels have acknowledged all bytes, recently this text.

        Only data since the last cut counts. gRPC does not compress by default, so texts are readable.
        """
        return text in self._passed and not any(map(_unacknowledged, self._writers))

    def vanish(self) -> None:
        """Resets all connections and refuses new ones until `listen` is called."""
        self.refuse()
        self.cut()

    def lead_to(self, upstream_port: int) -> None:
        """Resets all connections. New ones go to another server."""
        self.upstream_port = upstream_port
        self.cut()

    def cut_after_bytes(self, count: int) -> None:
        """Resets all connections, once, after this many more bytes in all were sent to clients."""
        self._bytes_left = count

    def pause(self) -> None:
        """Stops forwarding data. Connections stay open."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forwards data again."""
        self._flowing.set()

    async def send_up(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """See `Relay`."""
        await self._pump(client, server, down=False)

    async def send_down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """See `Relay`."""
        await self._pump(server, client, down=True)

    def _connected(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        """See `Relay`."""
        self._writers |= {client, server}

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_count += 1
        await super()._accept(reader, writer)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, down: bool) -> None:
        try:
            while data := await source.read(_CHUNK):
                await self._flowing.wait()
                let_through = self._let_through(data) if down else data
                if sink.transport.is_closing():  # cut meanwhile
                    break
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


def _unacknowledged(writer: asyncio.StreamWriter) -> int:
    """Returns the number of bytes that the other side's kernel has not acknowledged."""
    waiting = writer.transport.get_write_buffer_size()
    plug = writer.get_extra_info("socket")
    if plug is None or plug.fileno() < 0:
        return waiting
    (queued,) = struct.unpack("i", fcntl.ioctl(plug.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    return int(waiting + queued)
