"""HTTP/1.1 responses (RFC 9112): bytes in, one head and its body out, no I/O.

Written for event streams: a network read that holds whole chunks is taken apart in one short loop. Strict
about what frames a body, since a mistake there would pass for output.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import lru_cache

from tokengrpc.engines.http.head import CutShort, Head, HTTPError, Malformed, parse_field, parse_head

_HEAD_BYTES = 64 * 1024
_SIZE_LINE_BYTES = 4096
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


class _Step(Enum):
    """What the next bytes are."""

    HEAD = auto()
    SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    SIZED = auto()
    UNTIL_CLOSE = auto()
    NOTHING = auto()


_AT_SIZE = _Step.SIZE  # members are slow to look up


class ResponseParser:
    """Reads one response. After each `feed` or `close`, look at `head`, then at `ended` and `error`.

    `ended`: the body is complete, by its own framing or, if `until_close`, by the connection's end. `error`:
    Malformed or CutShort; what came before it was returned. Further bytes are ignored after either.
    """

    __slots__ = ("_buffer", "_head_bytes", "_left", "_step", "_surplus", "ended", "error", "head")

    def __init__(self) -> None:
        self.head: Head | None = None
        self.ended = False
        self.error: HTTPError | None = None
        self._step = _Step.HEAD
        self._buffer = bytearray()  # an unfinished head or line
        self._head_bytes = 0  # of all heads and trailers so far
        self._left = 0  # bytes of a chunk or of a sized body
        self._surplus = False

    @property
    def untouched(self) -> bool:
        """Whether no byte has come."""
        return self.head is None and self.error is None and not (self._buffer or self._head_bytes)

    @property
    def until_close(self) -> bool:
        """Whether only the connection's end ends the body."""
        return self._step is _Step.UNTIL_CLOSE

    @property
    def reusable(self) -> bool:
        """Whether the connection may take another request."""
        return (
            self.ended
            and self._step is _Step.NOTHING
            and not self._surplus
            and self.head is not None
            and self.head.persistent
        )

    def feed(self, data: bytes) -> bytes:
        """The part of the body that these bytes hold."""
        parts: list[bytes] = []
        at = 0
        if self._step is _AT_SIZE and not self._buffer:
            at = _take_whole_chunks(data, 0, parts)
        if at < len(data):
            self._feed_any(data, at, parts)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """The connection was closed: the body's end, or too early."""
        if self.ended or self.error is not None:
            return
        if self._step is _Step.UNTIL_CLOSE:
            self.ended = True
        else:
            self.error = CutShort("it was closed before the answer's end")

    def _feed_any(self, data: bytes, at: int, parts: list[bytes]) -> None:
        try:
            while at < len(data):
                at = self._take(data, at, parts)
        except Malformed as error:
            self.error = error
            self._step = _Step.NOTHING
            self._buffer.clear()

    def _take(self, data: bytes, at: int, parts: list[bytes]) -> int:
        """Takes what belongs to one step; returns where the next one begins."""
        match self._step:
            case _Step.CHUNK | _Step.SIZED:
                return self._take_counted(data, at, parts)
            case _Step.SIZE:
                return self._take_size(data, at, parts)
            case _Step.CHUNK_END:
                return self._take_chunk_end(data, at)
            case _Step.UNTIL_CLOSE:
                parts.append(data[at:])
            case _Step.HEAD:
                return self._take_head(data, at)
            case _Step.TRAILERS:
                return self._take_trailer(data, at)
            case _Step.NOTHING:
                self._surplus = True
        return len(data)

    def _take_head(self, data: bytes, at: int) -> int:
        buffer = self._buffer
        before = len(buffer)
        buffer += data[at:]
        if not buffer.startswith(b"HTTP/1."[: len(buffer)]):
            raise Malformed("its answer does not begin with HTTP/1")
        found = _HEAD_END.search(buffer, max(0, before - 3))
        self._count_head(found.end() if found else len(buffer), final=found is not None)
        if found is None:
            return len(data)
        head = parse_head(bytes(buffer[: found.start()]))
        at += found.end() - before
        buffer.clear()
        if head.status >= 200:
            self._begin_body(head)
        elif head.status == 101:
            raise Malformed("a change of protocol that nobody asked for")
        return at

    def _count_head(self, size: int, *, final: bool) -> None:
        if self._head_bytes + size > _HEAD_BYTES:
            raise Malformed(f"headers of more than {_HEAD_BYTES} bytes")
        if final:
            self._head_bytes += size

    def _begin_body(self, head: Head) -> None:
        chunked, length = head.chunked, head.content_length
        if head.status in {204, 304}:
            self._end()
        elif chunked:
            self._step = _Step.SIZE
        elif length is None:
            self._step = _Step.UNTIL_CLOSE
        elif length:
            self._left = length
            self._step = _Step.SIZED
        else:
            self._end()
        self.head = head

    def _take_counted(self, data: bytes, at: int, parts: list[bytes]) -> int:
        part = data[at : at + self._left]
        parts.append(part)
        self._left -= len(part)
        if not self._left:
            if self._step is _Step.SIZED:
                self._end()
            else:
                self._step = _Step.CHUNK_END
        return at + len(part)

    def _take_size(self, data: bytes, at: int, parts: list[bytes]) -> int:
        if not self._buffer:
            at = _take_whole_chunks(data, at, parts)
        line, at = self._take_line(data, at, _SIZE_LINE_BYTES)
        if line is not None:
            self._left = _chunk_size(line)
            self._step = _Step.CHUNK if self._left else _Step.TRAILERS
        return at

    def _take_chunk_end(self, data: bytes, at: int) -> int:
        part = data[at : at + 2 - len(self._buffer)]
        self._buffer += part
        if not b"\r\n".startswith(self._buffer):
            raise Malformed("a chunk longer than its size")
        if len(self._buffer) == 2:
            self._buffer.clear()
            self._step = _Step.SIZE
        return at + len(part)

    def _take_trailer(self, data: bytes, at: int) -> int:
        line, at = self._take_line(data, at, _HEAD_BYTES)
        if line is not None:
            self._count_head(len(line) + 2, final=True)
            if line:
                parse_field(line)
            else:
                self._end()
        return at

    def _take_line(self, data: bytes, at: int, limit: int) -> tuple[bytes | None, int]:
        """A line without its end, once it is whole, and where the next one begins."""
        found = data.find(b"\n", at)
        stop = found + 1 if found >= 0 else len(data)
        self._buffer += data[at:stop]
        if len(self._buffer) > limit:
            raise Malformed(f"a line of more than {limit} bytes")
        if found < 0:
            return None, stop
        line = bytes(self._buffer)
        self._buffer.clear()
        if not line.endswith(b"\r\n") or line.count(b"\r") > 1:
            raise Malformed("a line that does not end with CRLF")
        return line[:-2], stop

    def _end(self) -> None:
        self.ended = True
        self._step = _Step.NOTHING


def _take_whole_chunks(data: bytes, at: int, parts: list[bytes]) -> int:
    """Appends the chunks that are whole and plain; returns where something else begins."""
    find, has = data.find, data.startswith
    while True:
        line_end = find(b"\r\n", at, at + 10)
        if line_end < 0:
            return at
        begin = line_end + 2
        size = _plain_size(data[at:line_end])
        stop = begin + size
        if not size or not has(b"\r\n", stop):
            return at
        parts.append(data[begin:stop])
        at = stop + 2


@lru_cache(maxsize=1024)  # a stream's chunks have few sizes, and int() takes far more than hex digits
def _plain_size(digits: bytes) -> int:
    """The size in a line without extensions; 0 for any other line."""
    return int(digits, 16) if _SIZE.fullmatch(digits) else 0


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].rstrip(b" \t")
    if _SIZE.fullmatch(digits) is None:
        raise Malformed("a chunk size that is none")
    return int(digits, 16)
