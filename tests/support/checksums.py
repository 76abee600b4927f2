"""The checksum of output as a reader computes it from messages, by the contract alone."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenstreaming.v1 import token_stream_pb2 as pb


def output_bytes(message: pb.StreamTokensResponse) -> bytes:
    """Returns the bytes of a message that are part of the checksum."""
    texts = [text for t in message.tokens for text in (t.text, t.reasoning_text, t.refusal_text)]
    texts += [
        text for f in message.tool_call_fragments for text in (f.id, f.function_name, f.arguments_fragment)
    ]
    return "".join(texts).encode()


def checksum_of(messages: Iterable[pb.StreamTokensResponse]) -> int:
    """Returns the checksum of the output of these messages, which are all from the first one on."""
    return zlib.crc32(b"".join(map(output_bytes, messages)))


class ChecksumReader:
    """A reader that checks each message's checksum. It begins with what it has, None if it does not know."""

    def __init__(self, checksum: int | None = 0, *, has_output: bool = False) -> None:
        self.checksum = checksum
        self._has_output = has_output

    def take(self, message: pb.StreamTokensResponse) -> None:
        """Adds a message, and compares its checksum, which notices and messages before any output lack."""
        shown = message.output_checksum if message.HasField("output_checksum") else None
        assert not (message.tokens and message.tool_call_fragments), "their order would not be known"
        if message.WhichOneof("notice"):
            assert shown is None
            return
        self._has_output = self._has_output or bool(message.tokens or message.tool_call_fragments)
        if self.checksum is None:
            self.checksum = shown
            return
        self.checksum = zlib.crc32(output_bytes(message), self.checksum)
        assert shown == (self.checksum if self._has_output else None)
