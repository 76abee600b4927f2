"""Incremental decoding of text that arrives in pieces. No I/O."""

from __future__ import annotations

import codecs

REPLACEMENT = "\ufffd"


def encodable(text: str) -> str:
    """Returns the text with each unpaired surrogate replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # UTF-16 joins pairs of surrogates and refuses single ones.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class IncrementalDecoder:
    """Decoder of pieces of text or UTF-8 that may be split anywhere.

    A character whose bytes or surrogate halves are split over several pieces is returned with the last piece.
    Invalid input is returned as U+FFFD, so the text can always be encoded as UTF-8.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        # An incomplete character: its first bytes, or a high surrogate.
        self._held: str | bytes = ""

    @property
    def holds_half_pair(self) -> bool:
        """Whether a high surrogate waits for its low surrogate."""
        return bool(self._held) and isinstance(self._held, str)

    def push(self, piece: str | bytes) -> str:
        """Adds a piece. Returns the characters that are complete now."""
        # Runs once per token; nearly all pieces take this path.
        if not self._held and piece.isascii():
            return piece if isinstance(piece, str) else piece.decode()
        if not piece:
            return ""
        if isinstance(piece, str):
            before = self.flush() if isinstance(self._held, bytes) else ""
            return before + self._push_str(piece)
        before = self.flush() if isinstance(self._held, str) else ""
        return before + self._push_bytes(piece)

    def flush(self) -> str:
        """Ends the text. Returns U+FFFD for an incomplete character, otherwise an empty string."""
        held, self._held = self._held, ""
        if isinstance(held, bytes):
            # The first two bytes of an encoded surrogate are invalid, and count as two characters.
            return held.decode(errors="replace")
        return REPLACEMENT if held else ""

    def _push_str(self, piece: str) -> str:
        text = self._held + piece if isinstance(self._held, str) else piece
        self._held = ""
        if "\ud800" <= text[-1] <= "\udbff":
            self._held = text[-1]
            text = text[:-1]
        return encodable(text)

    def _push_bytes(self, piece: bytes) -> str:
        data = self._held + piece if isinstance(self._held, bytes) else piece
        text, used = codecs.utf_8_decode(data, "replace", False)
        self._held = data[used:] or ""
        return text
