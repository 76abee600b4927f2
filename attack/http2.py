"""HTTP/2 bytes by hand, because attacks need what a library refuses to send.

Header fields are literals that are never indexed, so that a block is the same for every stream.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SERVICE: Final = "/tokenstreaming.v1.TokenStream/"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM, END_HEADERS = 0x1, 0x4
ACK = 0x1

MAX_FRAME: Final = 16_384
"""Largest payload that a peer must accept without a setting."""


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Returns a frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def fields(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Returns a header block."""
    return b"".join(b"\x10" + _text(name) + _text(value) for name, value in pairs)


def _text(value: str) -> bytes:
    data = value.encode("latin-1")
    return _integer(len(data)) + data


def _integer(value: int) -> bytes:
    """Returns the length of a string, with a prefix of 7 bits (RFC 7541, 5.1)."""
    if value < 127:
        return bytes([value])
    value -= 127
    out = bytearray([127])
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out) + bytes([value])


def call_fields(method: str = "StreamTokens", *more: tuple[str, str]) -> bytes:
    """Returns the header block of a call of TokenStream, with more metadata at its end."""
    return path_fields(SERVICE + method, *more)


def path_fields(path: str, *more: tuple[str, str]) -> bytes:
    """Returns the header block of a gRPC call by its path, with more metadata at its end."""
    return fields(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *more,
        ]
    )


def message(data: bytes, *, compressed: bool = False) -> bytes:
    """Returns a gRPC message with its prefix."""
    return struct.pack(">BI", compressed, len(data)) + data


def data_frames(stream: int, data: bytes) -> bytes:
    """Returns the DATA frames of a whole request body."""
    pieces = [data[at : at + MAX_FRAME] for at in range(0, len(data), MAX_FRAME)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        frame(DATA, END_STREAM if index == last else 0, stream, piece) for index, piece in enumerate(pieces)
    )


def header_frames(stream: int, block: bytes, flags: int = 0) -> bytes:
    """Returns HEADERS, and as many CONTINUATION frames as the block needs."""
    first, rest = block[:MAX_FRAME], block[MAX_FRAME:]
    pieces = [rest[at : at + MAX_FRAME] for at in range(0, len(rest), MAX_FRAME)]
    out = frame(HEADERS, flags | (0 if pieces else END_HEADERS), stream, first)
    for index, piece in enumerate(pieces):
        out += frame(CONTINUATION, END_HEADERS if index == len(pieces) - 1 else 0, stream, piece)
    return out


class Frames:
    """A reader of the frames that a server sends. It keeps an unfinished frame for the next bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        """Returns kind, flags, stream and payload of each frame that is complete."""
        self._data += data
        found, at = [], 0
        while len(self._data) - at >= 9:
            length = int.from_bytes(self._data[at : at + 3], "big")
            if len(self._data) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._data, at + 3)
            found.append((kind, flags, stream & 0x7FFFFFFF, bytes(self._data[at + 9 : at + 9 + length])))
            at += 9 + length
        del self._data[:at]
        return found
