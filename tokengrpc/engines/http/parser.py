"""HTTP/1.1 responses (RFC 9112): bytes in, one head and its body out, no I/O.

llhttp (by httptools) reads the bytes. This module adds what llhttp leaves to its user: one response per
parser, bounds, bodies that end with the connection, and whether the connection can be used again.

How strict llhttp is, and why:

- Everywhere: `Content-Length` beside `Transfer-Encoding: chunked` is accepted (RFC 9112, 6.3: chunks count),
  and so is a final response after an interim one that says `Connection: close`.
- In heads: lines may end with LF alone. RFC 9112, 2.2 allows it, and hand-written servers do it.
- In bodies: no LF alone, because there a mistake would pass for output. Blanks after a chunk size are
  accepted; older servers pad sizes with them.
- Around responses: empty lines are skipped.
- Refused, although RFC 9112 would let a client repair them: a header that is continued on the next line, and
  a `Content-Length` that is repeated.
"""

from __future__ import annotations

from typing import NoReturn

from httptools import HttpParserError, HttpResponseParser

from tokengrpc.engines.http.head import CutShort, Head, Headers, HTTPError, Malformed

_START = b"HTTP/1."
_HEAD_BYTES = 64 * 1024
_FIELDS = 200

# The response is checked at every multiple of this size. Fixed places make the verdict independent of how the
# network cut the bytes.
_BLOCK_BYTES = 4 * 1024


class ResponseParser:
    """A parser of one response. After each `feed` or `close`, look at `head`, then at `ended` and `error`.

    `ended`: the body is complete, by its own framing or, if `until_close`, by the end of the connection.
    `error`: Malformed or CutShort; what came before it was returned. Further bytes are ignored after either.

    Bounds: 64 KiB and 200 fields for the head, including interim responses. In a chunked body, 4 KiB without
    output (a chunk extension, or trailers) are always accepted and 8 KiB never.
    """

    __slots__ = (
        "_block_left",
        "_field_count",
        "_fields",
        "_head_left",
        "_llhttp",
        "_parts",
        "_progress",
        "_start",
        "_surplus",
        "ended",
        "error",
        "head",
        "on_body",
        "until_close",
    )

    def __init__(self) -> None:
        self.head: Head | None = None
        self.until_close = False
        self.ended = False
        self.error: HTTPError | None = None
        self._start = b""  # the first bytes of the response
        self._fields: dict[str, str] = {}
        self._field_count = 0
        self._parts: list[bytes] = []
        self._head_left = _HEAD_BYTES
        self._block_left = _BLOCK_BYTES
        self._progress = False  # whether this block has the end of the head, or output
        self._surplus = False  # whether bytes came after the end
        self.on_body = self._parts.append  # the cheapest callback
        # None after the end: the two refer to each other, and reference counting alone is to free them.
        self._llhttp: HttpResponseParser | None = HttpResponseParser(self)
        self._llhttp.set_dangerous_leniencies(
            lenient_chunked_length=True,
            lenient_keep_alive=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    @property
    def untouched(self) -> bool:
        """Whether no byte has come."""
        return self.head is None and self._block_left == _BLOCK_BYTES and self._head_left == _HEAD_BYTES

    @property
    def reusable(self) -> bool:
        """Whether the connection can be used for another request."""
        head = self.head
        return (
            head is not None and self.ended and not self.until_close and not self._surplus and head.persistent
        )

    def feed(self, data: bytes) -> bytes:
        """Returns the part of the body that these bytes contain."""
        if self.head is None:
            self._check_start(data)
        if len(data) < self._block_left:
            self._block_left -= len(data)
            self._execute(data)
            self._progress |= bool(self._parts)
        else:
            self._execute_blocks(data)
        parts = self._parts
        if not parts:
            return b""
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return body

    def close(self) -> None:
        """Notes that the connection was closed: the end of the body, or too early."""
        self._llhttp = None
        if self.ended or self.error is not None:
            return
        if self.until_close:
            self.ended = True
        else:
            self.error = CutShort("it was closed before the end of the response")

    def _check_start(self, data: bytes) -> None:
        """Refuses other protocols, of which llhttp knows some. It skips empty lines before a response."""
        if len(self._start) < len(_START):
            self._start = (self._start + data).lstrip(b"\r\n")[: len(_START)]
            if not _START.startswith(self._start):
                self._fail("its response does not begin with HTTP/1")

    def _execute_blocks(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            block = data[at : at + self._block_left]
            at += len(block)
            known = len(self._parts)
            self._execute(block)
            self._progress |= len(self._parts) > known
            self._block_left -= len(block)
            if not self._block_left:
                self._end_block()

    def _end_block(self) -> None:
        self._block_left = _BLOCK_BYTES
        if self._llhttp is None:
            return
        if self.head is None:
            self._head_left -= _BLOCK_BYTES
            if not self._head_left:
                self._fail(f"headers of more than {_HEAD_BYTES} bytes")
        elif not self._progress:
            self._fail(f"more than {_BLOCK_BYTES} bytes between the chunks of its body")
        self._progress = False

    def _execute(self, data: bytes) -> None:
        llhttp = self._llhttp
        if llhttp is None:
            self._surplus |= bool(data.strip(b"\r\n"))
            return
        try:
            llhttp.feed_data(data)
        except HttpParserError as error:
            if not self.ended:
                self._fail(str(error))  # a constant phrase of llhttp's, or of ours
        if self.ended:
            self._llhttp = None

    def _fail(self, message: str) -> None:
        if self.error is None:
            self.error = Malformed(message)
        self._llhttp = None

    # llhttp's callbacks, beside `on_body`. What they raise ends the parsing.

    def on_message_begin(self) -> None:
        """Something begins: an interim response, the response, or what should not follow it."""
        if self.ended:
            self._surplus = True
            raise HttpParserError

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is not kept."""
        if self.head is not None:
            return
        self._field_count += 1
        if self._field_count > _FIELDS:
            self._refuse(f"more than {_FIELDS} headers")
        key, text = name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
        self._fields[key] = f"{self._fields[key]}, {text}" if key in self._fields else text

    def on_headers_complete(self) -> None:
        """A head is complete, maybe of an interim response."""
        llhttp = self._llhttp
        if llhttp is None or self.head is not None:
            return
        status = llhttp.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._fields.clear()
            return
        head = Head(status=status, version=llhttp.get_http_version(), headers=Headers(self._fields))
        self._check(head)
        self.head = head
        self.until_close = head.until_close
        self._progress = True
        llhttp.set_dangerous_leniencies(lenient_optional_cr_before_lf=False)

    def on_message_complete(self) -> None:
        """A response is complete, maybe an interim one."""
        self.ended = self.head is not None

    def _check(self, head: Head) -> None:
        if head.version not in {"1.0", "1.1"}:
            self._refuse("its response does not begin with HTTP/1")
        if head.status < 100:
            self._refuse("Invalid status code")
        if head.status == 101:
            self._refuse("a change of protocol that nobody asked for")
        coding = head.headers.get("transfer-encoding", "chunked")
        if coding.lower() != "chunked":
            self._refuse(f"an unknown transfer coding: {coding[:40]!r}")

    def _refuse(self, message: str) -> NoReturn:
        self.error = Malformed(message)
        raise HttpParserError(message)
