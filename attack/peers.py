"""Attacks by peers that are slow, silent, or stop reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attack import http2
from attack.http2 import DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, call_fields, frame
from attack.payloads import long_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from attack.raider import Raid, Raider

_HALF_OPEN = 1_000
_SLOW = 500
_UNREAD = 50
_BYTE_EVERY_S = 0.2


def silent(raid: Raid) -> None:
    """Connections that never send a byte."""
    _held(raid, b"")


def half_preface(raid: Raid) -> None:
    """Connections that send half of the preface."""
    _held(raid, PREFACE[:12])


def slow_headers(raid: Raid) -> None:
    """Calls whose header block arrives byte by byte."""
    whole = frame(HEADERS, END_HEADERS, 1, call_fields())
    sent: dict[Raider, int] = {}

    def more(raider: Raider) -> bytes:
        at = sent.get(raider, 0)
        sent[raider] = at + 1
        return whole[at : at + 1] if at < len(whole) - 1 else b""

    _trickle(raid, b"", more)


def slow_bodies(raid: Raid) -> None:
    """Calls whose message arrives byte by byte."""
    head = frame(HEADERS, END_HEADERS, 1, call_fields())
    begin = frame(DATA, 0, 1, http2.message(bytes(100_000))[:5])
    _trickle(raid, head + begin, lambda _: frame(DATA, 0, 1, b"\n"))


def unread_streams(raid: Raid) -> None:
    """Streams of long answers that nobody reads: the client's window stays as it is at the beginning."""
    body = http2.message(long_request())
    call = http2.header_frames(1, call_fields()) + http2.data_frames(1, body)
    for raider in raid.keep(_UNREAD):
        raid.send(raider, call)
        raid.counts.actions += 1
        raid.counts.requests += 1
    for _ in raid.turns():
        pass


def _held(raid: Raid, first: bytes) -> None:
    for _ in raid.turns():
        raid.counts.actions += len(raid.keep(_HALF_OPEN, first))


def _trickle(raid: Raid, first: bytes, more: Callable[[Raider], bytes]) -> None:
    opening = PREFACE + frame(SETTINGS) + first
    for _ in raid.turns(_BYTE_EVERY_S):
        raid.keep(_SLOW, opening)
        for raider in tuple(raid.raiders):
            raid.send(raider, more(raider))
            raid.counts.actions += 1
