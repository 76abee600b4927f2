"""The head of an HTTP/1.1 response, and the errors of responses that cannot be read. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


class HTTPError(ValueError):
    """A response that cannot be read, or not to its end."""


class Malformed(HTTPError):
    """Bytes that are not HTTP. The message does not quote them, because they may be output."""


class CutShort(HTTPError):
    """The connection was closed before the end of the response."""


class Headers(Mapping[str, str]):
    """Header fields. Names match in any case; the values of one name are joined with commas."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        """`fields` has names in lower case."""
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status and header fields. `version` is "1.0" or "1.1"."""

    status: int
    version: str
    headers: Headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        value = self.headers.get("content-type", "application/octet-stream")
        return value.partition(";")[0].strip().lower()

    @property
    def persistent(self) -> bool:
        """Whether the connection may stay open after the response (RFC 9112, 9.3)."""
        has_codings = "transfer-encoding" in self.headers
        if has_codings and ("content-length" in self.headers or self.version == "1.0"):
            # RFC 9112, 6.1: two lengths, or chunks in a version without them, are not to be trusted.
            return False
        options = {option.strip().lower() for option in self.headers.get("connection", "").split(",")}
        return "close" not in options and (self.version == "1.1" or "keep-alive" in options)

    @property
    def until_close(self) -> bool:
        """Whether only the end of the connection ends the body (RFC 9112, 6.3)."""
        has_length = "transfer-encoding" in self.headers or "content-length" in self.headers
        return not has_length and self.status not in {204, 304}
