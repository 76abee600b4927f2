"""Counts the tokens in the bytes that a gRPC server sends over one connection."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from tokenstreaming.v1 import token_stream_pb2 as pb

_FRAME_HEAD, _MESSAGE_HEAD = 9, 5
_DATA, _PADDED = 0, 0x8


class TokenCounter:
    """Splits the bytes into HTTP/2 frames, and their data, call by call, into messages of the contract."""

    def __init__(self) -> None:
        self.count = 0
        self._bytes = bytearray()
        self._calls: dict[int, bytearray] = {}

    def feed(self, data: bytes) -> int:
        """Takes bytes as they come. Returns the number of tokens so far."""
        buffered = self._bytes
        buffered += data
        while len(buffered) >= _FRAME_HEAD:
            end = _FRAME_HEAD + int.from_bytes(buffered[:3], "big")
            if len(buffered) < end:
                break
            if buffered[3] == _DATA:
                stream = int.from_bytes(buffered[5:_FRAME_HEAD], "big")
                self._take(stream, _unpadded(buffered[_FRAME_HEAD:end], buffered[4]))
            del buffered[:end]
        return self.count

    def _take(self, stream: int, data: bytearray) -> None:
        call = self._calls.setdefault(stream, bytearray())
        call += data
        while len(call) >= _MESSAGE_HEAD:
            end = _MESSAGE_HEAD + int.from_bytes(call[1:_MESSAGE_HEAD], "big")
            if len(call) < end:
                break
            self.count += _tokens(bytes(call[_MESSAGE_HEAD:end]))
            del call[:end]


def _unpadded(data: bytearray, flags: int) -> bytearray:
    return data[1 : len(data) - data[0]] if flags & _PADDED else data


def _tokens(message: bytes) -> int:
    """Returns the number of tokens and tool calls in a message of a stream; 0 for any other message."""
    try:
        decoded = pb.StreamTokensResponse.FromString(message)
    except DecodeError:
        return 0
    if not decoded.sequence:
        return 0
    calls = sum(bool(fragment.id) for fragment in decoded.tool_call_fragments)
    return sum(token.count for token in decoded.tokens) + calls
