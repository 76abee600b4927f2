"""What a server has streamed, to tell a message that repeats it from one that brings something new."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)


class Streamed:
    """The length and the last piece of a text that came in deltas. It needs constant memory."""

    __slots__ = ("last", "length")

    def __init__(self) -> None:
        self.length = 0
        self.last = ""

    def add(self, piece: str) -> None:
        """Adds a piece."""
        if piece:
            self.length += len(piece)
            self.last = piece

    def rest_of(self, whole: str, engine: str) -> str:
        """Returns what `whole`, the text of a whole message, has beyond the streamed text.

        If the two differ otherwise, the streamed text stands, because its readers have it.
        """
        begins_alike = whole[: self.length].endswith(self.last)
        if begins_alike and len(whole) >= self.length:
            rest = whole[self.length :]
            if self.length:
                self.add(rest)
            return rest
        if whole.strip():
            log.debug("an engine's last message differs from what it has streamed", engine=engine)
        return ""
