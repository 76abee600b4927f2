"""Requests as raw bytes: of the largest size, and as expensive as bytes of that size can be."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 1_000_000
"""Bytes of a request just below the default of `limits.max_request_bytes`."""


@dataclass(frozen=True)
class Dear:
    """Bytes of a StreamTokensRequest. `path` is that of the list that is too long; None if none is."""

    body: bytes
    path: str | None = None
    is_valid: bool = False


def field(number: int, payload: bytes = b"") -> bytes:
    """Returns a field with a message, a text or bytes in it."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """Returns a number in protobuf's form of variable length."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def filled(piece: bytes, size: int = LARGEST) -> bytes:
    """Returns a piece as often as it fits."""
    return piece * (size // len(piece))


def _message(*parts: bytes) -> bytes:
    return field(4, field(1, b"\x08\x02" + b"".join(parts)))


def _engine_params(values: bytes, key: bytes = b"a") -> bytes:
    return field(15, field(1, field(1, key) + field(2, field(6, values))))


_CALL = field(3, field(1, b"id") + field(2, b"name") + field(3, b'{"key": "%s"}' % (b"v" * 180)))


DEAR: dict[str, Dear] = {
    "empty messages": Dear(field(4, filled(field(1))), "conversation.messages"),
    "empty parts": Dear(_message(filled(field(3))), "conversation.messages.parts"),
    "empty tools": Dear(filled(field(10)), "tools"),
    "engine_params": Dear(_engine_params(filled(field(1, field(5)))), "engine_params"),
    "labels": Dear(b"".join(field(16, field(1, b"%05x" % n)) for n in range(LARGEST // 10)), "labels"),
    "stop sequences": Dear(field(7, filled(field(9))), "sampling.stop_sequences"),
    "choices": Dear(field(12, field(4, filled(field(1)))), "output_constraint.choices.texts"),
    "unknown fields": Dear(filled(b"\xf8\x07\x01"), ""),
    "unknown fields in a message": Dear(_message(filled(b"\xf8\x07\x01")), "conversation.messages"),
    "unpacked ids": Dear(field(5, filled(b"\x08\x01")), "prompt_token_ids.ids"),
    "packed ids": Dear(field(5, field(1, bytes([7]) * LARGEST)), is_valid=True),
    "a schema": Dear(field(3, b"p") + field(12, field(1, b'{"a":[' + b"{}," * (LARGEST // 3) + b"1]}"))),
    "many messages": Dear(
        field(4, field(1, b"\x08\x02" + field(2, b"some words " * 22)) * 4096), is_valid=True
    ),
    "many tool calls": Dear(field(4, field(1, b"\x08\x03" + field(3, _CALL) * 4095)), is_valid=True),
    "allowed engine_params": Dear(
        field(3, b"p") + _engine_params(field(1, b"\x11" + bytes(8)) * 16_000, b"b"), is_valid=True
    ),
    "a prompt": Dear(field(3, b"many words " * (LARGEST // 11)), is_valid=True),
    "a prompt of spaces": Dear(field(3, b" " * LARGEST), is_valid=True),
    "a wrong id": Dear(field(1, b"\x1b" * LARGEST) + field(3, b"p")),
}
"""By name. They are invalid, or valid but large."""
