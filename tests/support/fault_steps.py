"""Steps of a scripted engine that fails: below HTTP, in the middle of a character, or when all was seen."""

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


class Seen:
    """Waits until the caller has all that was sent, so that what breaks then takes nothing with it."""

    def __init__(self) -> None:
        self.said = ""
        """What the caller has: answer, reasoning, refusal and arguments as they came."""

    async def run(self, call: Call) -> None:
        """Waits."""
        while self.said != encodable(call.text):  # noqa: ASYNC110 - the reader is a gRPC client elsewhere
            await asyncio.sleep(0.001)


class HardReset:
    """Resets the TCP connection (RST) instead of closing it."""

    async def run(self, call: Call) -> web.StreamResponse:
        """Resets it after what was written, before the headers if nothing was."""
        transport = call.request.transport
        assert transport is not None
        plug = transport.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        call.finished.set()
        raise ConnectionResetError("reset by the script")


class Raw:
    """Writes bytes below HTTP's framing, before the headers or between two chunks, and maybe hangs up."""

    def __init__(self, data: bytes, *, close: bool = False) -> None:
        self.data = data
        self.close = close

    async def run(self, call: Call) -> None:
        """Writes them."""
        transport = call.request.transport
        assert transport is not None
        transport.write(self.data)
        if self.close:
            transport.close()
            call.finished.set()
            raise ConnectionResetError("closed by the script")


class RawHead:
    """A head of its own in place of aiohttp's: what follows it is written as it is, without chunks."""

    def __init__(self, *lines: str, version: str = "1.1") -> None:
        fields = ("Content-Type: text/event-stream", *lines)
        self.head = "".join(f"{line}\r\n" for line in (f"HTTP/{version} 200 OK", *fields, "")).encode()

    async def run(self, call: Call) -> None:
        """Sends it."""
        await Raw(self.head).run(call)
        call.response = _RawResponse(call)  # type: ignore[assignment] # as much of one as a call needs


class _RawResponse:
    def __init__(self, call: Call) -> None:
        self._call = call

    async def write(self, data: bytes) -> None:
        await Raw(data).run(self._call)

    async def write_eof(self) -> None:
        await Raw(b"", close=True).run(self._call)


class Half(Content):
    """The first half of an event whose text has a character of several bytes: it ends in the middle of it."""

    def __init__(self, step: Content) -> None:
        self.step = step

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Half of the bytes; neither its token nor its usage was told."""
        before = call.rendered_count, call.usage
        data = in_utf8(self.step.render(call)[0])
        call.rendered_count, call.usage = before
        return data[: next(at for at, byte in enumerate(data) if byte > 0x7F) + 2], ()


class Unescaped(Content):
    """A content step whose characters are written as UTF-8, not as JSON's escapes."""

    def __init__(self, step: Content) -> None:
        self.step = step

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Its bytes and tokens."""
        data, tokens = self.step.render(call)
        return in_utf8(data), tokens


def in_utf8(events: bytes) -> bytes:
    """Events of JSON with characters in place of escapes."""
    lines = events.split(b"\n")
    return b"\n".join(
        b"data: " + json.dumps(json.loads(line[6:]), ensure_ascii=False).encode()
        if line.startswith(b"data: {")
        else line
        for line in lines
    )


class OneByOne:
    """A content step written byte by byte, each in a packet of its own as far as the loop can see to it."""

    def __init__(self, step: Content) -> None:
        self.step = step

    async def run(self, call: Call) -> None:
        """A write for each byte; the tokens count with the last one."""
        data, tokens = self.step.render(call)
        for at in range(len(data)):
            await call.write(data[at : at + 1], tokens if at == len(data) - 1 else ())
            await asyncio.sleep(0)


class SignOfLife(Content):
    """What the dialect sends to keep the connection alive."""

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """A comment or a ping."""
        return call.dialect.keep_alive, ()


class Empty(Content):
    """An event of the dialect's own with no output in it."""

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """A chunk that brings nothing."""
        return call.dialect.write(call.dialect.chunk(call, {})), ()


class Forever:
    """Repeats a content step, and nothing else, until the connection is closed."""

    def __init__(self, step: Content) -> None:
        self.step = step

    async def run(self, call: Call) -> None:
        """Never ends by itself."""
        while True:
            await self.step.run(call)
            await asyncio.sleep(0.02)


class Rewritten(Content):
    """A content step whose bytes are changed before they are sent."""

    def __init__(self, step: Content, old: bytes, new: bytes) -> None:
        self.step = step
        self.old = old
        self.new = new

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """The changed bytes."""
        data, tokens = self.step.render(call)
        return data.replace(self.old, self.new), tokens
