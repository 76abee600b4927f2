"""From pieces to text: whole characters. No I/O."""

from __future__ import annotations

import codecs

REPLACEMENT = "\ufffd"


def encodable(text: str) -> str:
    """The text, with U+FFFD for each half of a surrogate pair that stands alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # UTF-16 joins pairs of surrogates and refuses single ones.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class IncrementalDecoder:
    """Makes whole characters of pieces that may be split anywhere.

    A character whose bytes, or whose surrogate halves, are split over pieces comes out with its last piece.
    What can be no character comes out as U+FFFD, so the text always encodes to UTF-8.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        # The beginning of a character: bytes of one, or one high surrogate.
        self._held: str | bytes = ""

    @property
    def holds_half_pair(self) -> bool:
        """Whether half a surrogate pair waits for the other one."""
        return bool(self._held) and isinstance(self._held, str)

    def push(self, piece: str | bytes) -> str:
        """The characters that are whole now."""
        # Runs once per token: nearly all pieces leave here.
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
        """What is held, which will never be whole: U+FFFD, or nothing."""
        held, self._held = self._held, ""
        if isinstance(held, bytes):
            # The first bytes of a surrogate are not one character but two.
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
