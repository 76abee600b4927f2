"""Recognizes the end of a JSON value that arrives in pieces."""

from __future__ import annotations

import re
import zlib

# What matters outside and inside of strings: brackets, quotes, and escaped characters.
_SIGNIFICANT = re.compile(r'[{}\[\]"]|\\.?', re.DOTALL)


class JsonText:
    """A JSON object or array in pieces. It needs constant memory, and time proportional to the text."""

    __slots__ = ("_depth", "_escaped", "_in_string", "_started", "digest", "empty")

    def __init__(self) -> None:
        self._depth = 0
        self._started = False  # whether a bracket has opened
        self._in_string = False
        self._escaped = False  # whether a piece ended with a backslash
        self.digest = 0
        self.empty = True

    @property
    def whole(self) -> bool:
        """Whether the value is complete."""
        return self._started and self._depth == 0 and not self._in_string

    def add(self, piece: str) -> None:
        """Adds a piece."""
        if not piece:
            return
        self.empty = False
        self.digest = digest(piece, self.digest)
        if self._escaped:
            self._escaped = False
            piece = piece[1:]
        for match in _SIGNIFICANT.finditer(piece):
            mark = match[0]
            if mark == '"':
                self._in_string = not self._in_string
            elif mark[0] == "\\":
                self._escaped = len(mark) == 1
            elif not self._in_string:
                self._started = True
                self._depth += 1 if mark in "{[" else -1


def digest(text: str, before: int = 0) -> int:
    """Returns the checksum of `text` that follows a text with the checksum `before`."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"), before)
