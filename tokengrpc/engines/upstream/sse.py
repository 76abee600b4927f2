"""Server-sent events: bytes in, payloads out, no I/O.

The format is WHATWG's (HTML, 9.2 Server-sent events), with two differences, both told at their places: an
event that the stream's end cut off is not dropped, and sizes are bounded. Only `data` is kept: every engine's
payload says by itself what it is.
"""

from __future__ import annotations

from tokengrpc.errors import EngineProtocolError

_BOM = b"\xef\xbb\xbf"

# An unfinished event up to this size is joined with the next chunk and looked at again as a whole; a larger
# one goes through the line parser, which looks at each byte once.
_JOIN_BYTES = 16 * 1024


class SSEDecoder:
    """Splits one response's body into the `data` payloads of its events.

    `feed` takes the bytes as they come, cut anywhere. A line or an event's data of more than
    `max_event_bytes` raises EngineProtocolError; if there were events before it, those are returned, and
    `failed` is set.
    """

    __slots__ = ("_after_cr", "_data", "_line", "_max", "_plain", "_size", "_start", "_tail", "failed")

    def __init__(self, *, max_event_bytes: int = 1024 * 1024) -> None:
        self._max = max_event_bytes
        self._start = True  # nothing but a part of a byte order mark has come
        self._plain = True  # all that is unfinished is in `_tail`; otherwise it is in the next four
        self._tail = b""
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self.failed: EngineProtocolError | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads that this chunk completes, in order."""
        if self.failed is not None:
            raise self.failed
        if self._start:
            chunk = self._without_bom(chunk)
            if self._start:
                return []
        events: list[bytes] = []
        if not self._plain:
            self._feed_lines(chunk, events)
            return events
        tail = self._tail
        chunk = tail + chunk
        if len(tail) > _JOIN_BYTES or len(chunk) > self._max or b"\r" in chunk:
            self._tail = b""
            self._feed_lines(chunk, events)
            return events
        body, _, self._tail = chunk.rpartition(b"\n\n")
        if body.startswith(b"data: "):
            # The usual case, all in C: whole events of one line each.
            payloads = body[6:].split(b"\n\ndata: ")
            if body.count(b"\n") == 2 * (len(payloads) - 1):
                return payloads
        if body:
            for block in body.split(b"\n\n"):
                self._feed_block(block, events)
        return events

    def close(self) -> list[bytes]:
        """The payload that the end of the stream cut off, if any.

        WHATWG drops it, but servers exist that end with `data: [DONE]` and no line end. It may be incomplete:
        whoever reads it must not take a broken one for a fault of the server's.
        """
        if self.failed is not None:
            raise self.failed
        events: list[bytes] = []
        if self._plain:
            self._feed_block(self._tail, events)
            self._tail = b""
        else:
            self._feed_lines(b"\n\n", events)
        return events

    def _without_bom(self, chunk: bytes) -> bytes:
        chunk = self._tail + chunk
        self._tail = b""
        if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
            self._tail = chunk
            return b""
        self._start = False
        return chunk.removeprefix(_BOM)

    def _feed_block(self, block: bytes, events: list[bytes]) -> None:
        """Lines that belong to one event, with LF between them."""
        for line in block.split(b"\n"):
            self._take_line(line)
        self._dispatch(events)

    def _feed_lines(self, chunk: bytes, events: list[bytes]) -> None:
        """Any bytes, with any line ends."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if chunk.endswith(b"\r"):
            self._after_cr = True
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        unfinished = lines.pop()
        try:
            for line in lines:
                if self._line:
                    line = bytes(self._line) + line  # noqa: PLW2901 - the line's first part came before
                    self._line.clear()
                if line:
                    self._take_line(line)
                else:
                    self._dispatch(events)
            self._line += unfinished
            self._check(len(self._line), "line")
        except EngineProtocolError as error:
            self.failed = error
            if not events:
                raise
        self._plain = not (self._line or self._data or self._after_cr or self.failed)

    def _take_line(self, line: bytes) -> None:
        self._check(len(line), "line")
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value) + 1
            self._check(self._size - 1, "event")
            self._data.append(value)

    def _dispatch(self, events: list[bytes]) -> None:
        if self._data:
            events.append(b"\n".join(self._data))
            self._data.clear()
            self._size = 0

    def _check(self, size: int, what: str) -> None:
        if size > self._max:
            raise EngineProtocolError(
                f"the engine sent a server-sent {what} of more than {self._max} bytes, the most that is read"
            )
