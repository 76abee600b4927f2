"""Server-sent events: bytes in, payloads out, no I/O.

The format is WHATWG's (HTML, 9.2 Server-sent events), with four differences that are explained where they
are implemented: an event that the stream's end cuts off is not discarded, a body that is JSON instead of
events is a payload, events may be one line end apart, and sizes are bounded. Only `data` is kept, because the
payloads of every engine identify themselves.
"""

from __future__ import annotations

from copy import copy

import msgspec

from tokengrpc.engines.upstream.response.keepalives import is_keepalive
from tokengrpc.errors import EngineProtocolError

# How the JSON of an answer begins. No field of an event does.
_JSON_STARTS = (b"{", b"[")

_DATA = b"data"
_NEXT_DATA = b"\ndata"
_END_MARK = b"[DONE]"

_BOM = b"\xef\xbb\xbf"

# An unfinished event of up to this size is joined with the next chunk and scanned again. A larger one goes
# through the line parser, which scans each byte once.
_JOIN_BYTES = 16 * 1024


class SSEDecoder:
    """A decoder that splits one response's body into the `data` payloads of its events.

    `feed` accepts the bytes in chunks that are cut anywhere. A line, or the data of an event, of more than
    `max_event_bytes` raises EngineProtocolError. If the same chunk completed events before it, `feed` returns
    those and sets `failed`, which the next call raises.
    """

    __slots__ = (
        "_after_cr",
        "_bare",
        "_data",
        "_line",
        "_max",
        "_plain",
        "_single_lines",
        "_size",
        "_start",
        "_tail",
        "failed",
    )

    def __init__(self, *, max_event_bytes: int = 1024 * 1024) -> None:
        self._max = max_event_bytes
        self._start = True  # at most a part of a byte order mark has arrived
        self._plain = True  # unfinished input is in `_tail`; if False, in the four attributes after it
        self._single_lines = False  # events are one line end apart; then `_plain` is False
        self._tail = b""
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._bare: list[bytes] | None = []  # lines of a body that is JSON; None once it is not
        self.failed: EngineProtocolError | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns the payloads that this chunk completes, in order. Raises EngineProtocolError."""
        if self.failed is not None:
            raise copy(self.failed)
        if self._start:
            chunk = self._strip_bom(chunk)
            if self._start:
                return []
        if self._plain:
            return self._feed_plain(chunk)
        events: list[bytes] = []
        self._feed_lines(chunk, events)
        return events

    def _feed_plain(self, chunk: bytes) -> list[bytes]:
        """Feeds a chunk after input that was all complete but for `_tail`."""
        events: list[bytes] = []
        tail = self._tail
        chunk = tail + chunk
        if len(tail) > _JOIN_BYTES or len(chunk) > self._max or b"\r" in chunk:
            self._tail = b""
            self._feed_lines(chunk, events)
            return events
        body, _, self._tail = chunk.rpartition(b"\n\n")
        if _NEXT_DATA in self._tail and _has_two_data_lines(self._tail):
            self._tail = b""
            self._feed_lines(chunk, events)
            return events
        if body.startswith(b"data: "):
            # Fast path, all in C: complete events of one line each.
            payloads = body[6:].split(b"\n\ndata: ")
            if body.count(b"\n") == 2 * (len(payloads) - 1):
                if self._bare is not None:
                    self._end_bare()
                return payloads
        if body:
            for block in body.split(b"\n\n"):
                self._feed_block(block, events)
            if self._single_lines:
                tail, self._tail = self._tail, b""
                self._feed_lines(tail, events)
        return events

    def close(self) -> list[bytes]:
        """Returns the payload that the end of the stream cut off, if any, after those that only it completes.

        WHATWG discards them, but some servers end with `data: [DONE]` and no line end. The last one may be
        incomplete, so one that cannot be decoded is not a protocol error.
        """
        if self.failed is not None:
            raise copy(self.failed)
        events: list[bytes] = []
        if self._plain:
            self._feed_block(self._tail, events)
            self._tail = b""
        else:
            self._feed_lines(b"\n\n", events)
        if self._bare and not events:
            # Some servers answer with an error object although the type is that of an event stream.
            events.append(b"\n".join(self._bare))
        return events

    def _strip_bom(self, chunk: bytes) -> bytes:
        chunk = self._tail + chunk
        self._tail = b""
        if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
            self._tail = chunk
            return b""
        self._start = False
        return chunk.removeprefix(_BOM)

    def _feed_block(self, block: bytes, events: list[bytes]) -> None:
        """Feeds the lines of one event, separated by LF."""
        for line in block.split(b"\n"):
            self._feed_line(line, events)
        self._dispatch(events)

    def _feed_lines(self, chunk: bytes, events: list[bytes]) -> None:
        """Feeds any bytes, with any line ends."""
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
                    line = bytes(self._line) + line  # noqa: PLW2901 - an earlier chunk had its first part
                    self._line.clear()
                if line:
                    self._feed_line(line, events)
                else:
                    self._dispatch(events)
            self._line += unfinished
            self._check(len(self._line), "line")
        except EngineProtocolError as error:
            self.failed = copy(error)  # without the traceback, which refers to this decoder
            if not events:
                raise
        busy = self._line or self._data or self._after_cr or self._single_lines or self.failed
        self._plain = not busy

    def _feed_line(self, line: bytes, events: list[bytes]) -> None:
        self._check(len(line), "line")
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            if len(self._data) == 1 and _is_whole(self._data[0]):
                # Some servers end an event with one line end only. JSON that is whole is never continued.
                self._single_lines = True
                self._dispatch(events)
            self._end_bare()
            self._size += len(value) + 1
            self._check(self._size - 1, "event")
            self._data.append(value)
            if self._single_lines and len(self._data) == 1 and _is_whole(value):
                self._dispatch(events)
        elif line and self._bare is not None and (self._bare or line[:1] in _JSON_STARTS):
            self._size += len(line) + 1
            self._check(self._size - 1, "event")
            self._bare.append(line)

    def _end_bare(self) -> None:
        """Notes that the body is not JSON. Lines that looked like it do not count for the first event."""
        if self._bare is not None:
            self._bare = None
            self._size = 0

    def _dispatch(self, events: list[bytes]) -> None:
        if self._data:
            events.append(b"\n".join(self._data))
            self._data.clear()
            self._size = 0

    def _check(self, size: int, what: str) -> None:
        if size > self._max:
            raise EngineProtocolError(
                f"the engine sent a server-sent {what} of more than {self._max} bytes; "
                "check the engine, or raise max_event_bytes"
            )


def _has_two_data_lines(event: bytes) -> bool:
    """Returns whether an unfinished event has a second `data` line. `event` has one after another line."""
    return event.startswith(_DATA) or event.count(_NEXT_DATA) > 1


def _is_whole(data: bytes) -> bool:
    """Returns whether the data of one line is a payload by itself: JSON, the end mark or a keep-alive."""
    if data == _END_MARK or (data and is_keepalive(data)):
        return True
    if not data.startswith(_JSON_STARTS):
        return False
    try:
        msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return False
    return True
