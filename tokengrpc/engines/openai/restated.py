"""What a server has streamed, to tell a message that repeats it from one that brings something new."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)


class Streamed:
    """The length and the last piece of a text that came in deltas. It needs constant memory."""

    __slots__ = ("_last", "_length")

    def __init__(self) -> None:
        self._length = 0
        self._last = ""

    def add(self, piece: str) -> None:
        """Adds a piece."""
        if piece:
            self._length += len(piece)
            self._last = piece

    def rest_of(self, whole: str, engine: str) -> str:
        """Returns what `whole`, the text of a whole message, has beyond the streamed text.

        If the two differ otherwise, the streamed text stands, because its readers have it.
        """
        begins_alike = whole[: self._length].endswith(self._last)
        if begins_alike and len(whole) >= self._length:
            rest = whole[self._length :]
            if self._length:
                self.add(rest)
            return rest
        if whole.strip():
            log.debug("an engine's last message differs from what it has streamed", engine=engine)
        return ""
