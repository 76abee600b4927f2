"""Steps of a scripted engine that fails: below HTTP, within a character, or once the caller has caught up."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import TYPE_CHECKING

from tests.support.script_steps import Content
from tokengrpc.core.text import encodable

if TYPE_CHECKING:
    from aiohttp import web

    from tests.support.scripted_engine import Call
    from tests.support.scripted_vllm import VllmCall


class CaughtUp:
    """A wait until the caller has received all output, so that the fault after it cannot lose any."""

    def __init__(self) -> None:
        self.received = ""
        """The caller's output so far: text, reasoning, refusal and arguments in their order of arrival."""
        self.message_count = 0
        """The messages that the caller has received."""

    async def run(self, call: Call | VllmCall) -> None:
        """Waits until the caller has received all text of the call."""
        while self.received != encodable(call.text):  # noqa: ASYNC110 - the reader is a gRPC client elsewhere
            await asyncio.sleep(0.001)


class HardReset:
    """A reset of the TCP connection (RST), instead of a regular close."""

    async def run(self, call: Call) -> web.StreamResponse:
        """Resets the connection after the data that was written, if any."""
        transport = call.request.transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        call.finished.set()
        raise ConnectionResetError("reset by the script")


class Raw:
    """Bytes below HTTP's framing, before the headers or between two chunks. `close` closes the connection."""

    def __init__(self, data: bytes, *, close: bool = False) -> None:
        self.data = data
        self.close = close

    async def run(self, call: Call) -> None:
        """Writes the bytes."""
        transport = call.request.transport
        assert transport is not None
        transport.write(self.data)
        if self.close:
            transport.close()
            call.finished.set()
            raise ConnectionResetError("closed by the script")


class RawHead:
    """A response head in place of aiohttp's. The body after it is written without chunked encoding."""

    def __init__(self, *lines: str, version: str = "1.1") -> None:
        fields = ("Content-Type: text/event-stream", *lines)
        self.head = "".join(f"{line}\r\n" for line in (f"HTTP/{version} 200 OK", *fields, "")).encode()

    async def run(self, call: Call) -> None:
        """Sends the head."""
        await Raw(self.head).run(call)
        call.response = _RawResponse(call)  # type: ignore[assignment] # has the methods that a call uses


class _RawResponse:
    def __init__(self, call: Call) -> None:
        self._call = call

    async def write(self, data: bytes) -> None:
        await Raw(data).run(self._call)

    async def write_eof(self) -> None:
        await Raw(b"", close=True).run(self._call)


class HalfEvent(Content):
    """The first part of an event, which ends within its first multi-byte character."""

    def __init__(self, step: Content) -> None:
        self.step = step

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the first part's bytes. Its token and usage do not count as sent."""
        unchanged = call.rendered_count, call.usage
        data = in_utf8(self.step.render(call)[0])
        call.rendered_count, call.usage = unchanged
        return data[: next(at for at, byte in enumerate(data) if byte > 0x7F) + 2], ()


class InUTF8(Content):
    """A content step whose characters are written as UTF-8 instead of JSON escapes."""

    def __init__(self, step: Content) -> None:
        self.step = step

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the bytes and tokens."""
        data, tokens = self.step.render(call)
        return in_utf8(data), tokens


def in_utf8(events: bytes) -> bytes:
    """Returns events of JSON with characters in place of escapes."""
    lines = events.split(b"\n")
    return b"\n".join(
        b"data: " + json.dumps(json.loads(line[6:]), ensure_ascii=False).encode()
        if line.startswith(b"data: {")
        else line
        for line in lines
    )


class ByteByByte:
    """A content step that is written byte by byte, usually each byte in its own packet."""

    def __init__(self, step: Content) -> None:
        self.step = step

    async def run(self, call: Call) -> None:
        """Writes each byte separately. The tokens count as sent with the last byte."""
        data, tokens = self.step.render(call)
        for at in range(len(data)):
            await call.write(data[at : at + 1], tokens if at == len(data) - 1 else ())
            await asyncio.sleep(0)


class KeepAlive(Content):
    """The dialect's keep-alive."""

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns a comment or a ping event."""
        return call.dialect.keep_alive, ()


class EmptyEvent(Content):
    """An event of the dialect without output."""

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns a chunk without output."""
        return call.dialect.write(call.dialect.chunk(call, {})), ()


class Forever:
    """A content step that is repeated until the connection is closed."""

    def __init__(self, step: Content) -> None:
        self.step = step

    async def run(self, call: Call) -> None:
        """Writes the step again and again. Never returns."""
        while True:
            await self.step.run(call)
            await asyncio.sleep(0.02)


class Replaced(Content):
    """A content step in whose bytes `old` is replaced by `new`."""

    def __init__(self, step: Content, old: bytes, new: bytes) -> None:
        self.step = step
        self.old = old
        self.new = new

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the changed bytes."""
        data, tokens = self.step.render(call)
        return data.replace(self.old, self.new), tokens
