"""Recognizes the end of a JSON value that arrives in pieces."""

from __future__ import annotations

import re
import zlib

# What matters outside and inside of strings: brackets, quotes, and escaped characters.
_SIGNIFICANT = re.compile(r'[{}\[\]"]|\\.?', re.DOTALL)

# Pieces are scanned when somebody asks, and at the latest when there are so many of them.
_MAX_PENDING = 256


class JsonText:
    """A JSON object or array in pieces. It needs constant memory, and time proportional to the text."""

    __slots__ = ("_depth", "_digest", "_escaped", "_in_string", "_pending", "_started", "empty")

    def __init__(self) -> None:
        self._pending: list[str] = []  # pieces that have not been scanned
        self._depth = 0
        self._started = False  # whether a bracket has opened
        self._in_string = False
        self._escaped = False  # whether the scanned text ends with a backslash
        self._digest = 0
        self.empty = True

    @property
    def whole(self) -> bool:
        """Whether the value is complete."""
        if self._pending:
            end = self._pending[-1].rstrip()
            if end and end[-1] not in "}]":
                return False
            self._scan()
        return self._started and self._depth == 0 and not self._in_string

    @property
    def digest(self) -> int:
        """The checksum of the text, as of `digest`."""
        self._scan()
        return self._digest

    def add(self, piece: str) -> None:
        """Adds a piece."""
        if piece:
            self.empty = False
            self._pending.append(piece)
            if len(self._pending) > _MAX_PENDING:
                self._scan()

    def _scan(self) -> None:
        text = "".join(self._pending)
        self._pending.clear()
        if not text:
            return
        self._digest = digest(text, self._digest)
        if self._escaped:
            self._escaped = False
            text = text[1:]
        for match in _SIGNIFICANT.finditer(text):
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
