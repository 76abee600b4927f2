"""The head of an HTTP/1.1 response: status line and header fields (RFC 9112, 4 and 5). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_FIELDS = 200
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?", re.DOTALL)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class HTTPError(ValueError):
    """An answer that cannot be read, or not to its end."""


class Malformed(HTTPError):
    """Bytes that are not HTTP. The message does not quote them: they may be output."""


class CutShort(HTTPError):
    """The connection was closed before the answer's end."""


class Headers(Mapping[str, str]):
    """Header fields; names in any case. Fields of one name are joined with commas."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields  # names in lower case

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What comes before a body. `persistent`: the connection may stay open after it (RFC 9112, 9.3)."""

    status: int
    headers: Headers
    persistent: bool

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        value = self.headers.get("content-type", "application/octet-stream")
        return value.partition(";")[0].strip().lower()

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks. Raises Malformed for a coding that nobody asked for."""
        coding = self.headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise Malformed(f"an unknown transfer coding: {coding[:40]!r}")
        return coding is not None

    @property
    def content_length(self) -> int | None:
        """The body's length in bytes, if it is told. Raises Malformed for one that is no number."""
        value = self.headers.get("content-length")
        if value is None:
            return None
        length, *others = {part.strip() for part in value.split(",")}  # RFC 9110, 8.6: repeated is allowed
        if others or not length.isdecimal() or len(length) > 18:
            raise Malformed(f"a bad Content-Length: {value[:40]!r}")
        return int(length)


def parse_head(raw: bytes) -> Head:
    """Parses all lines before the empty one; their ends are CRLF or LF. Raises Malformed."""
    raw = raw.replace(b"\r\n", b"\n")
    if b"\r" in raw or b"\0" in raw:
        raise Malformed("a stray CR or NUL in its headers")
    first, *lines = raw.split(b"\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise Malformed("a status line that is none")
    if len(lines) > _FIELDS:
        raise Malformed(f"more than {_FIELDS} headers")
    headers = Headers(_fields(lines))
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    persistent = "close" not in options and (status_line[1] == b"1" or "keep-alive" in options)
    # RFC 9112, 6.1: what tells its length twice, or in a version without chunks, is not to be trusted.
    if "transfer-encoding" in headers and ("content-length" in headers or status_line[1] == b"0"):
        persistent = False
    return Head(status=int(status_line[2]), headers=headers, persistent=persistent)


def parse_field(line: bytes) -> tuple[str, str]:
    """A header's or trailer's name, in lower case, and its value. Raises Malformed."""
    name, colon, value = line.partition(b":")
    if not colon or _TOKEN.fullmatch(name) is None:
        raise Malformed("a header that is none")
    return name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")


def _fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in {b" ", b"\t"} and name:
            fields[name] += " " + line.strip(b" \t").decode("latin-1")  # RFC 9112, 5.2: a folded line
            continue
        name, value = parse_field(line)
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields
