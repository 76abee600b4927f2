"""Cursors: what a client needs to go on exactly where another one left, in one line of text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tokengrpc.client.local_errors import invalid_cursor

_TEXT: Final = re.compile(
    r"tg1\.(?P<sequence>0|[1-9][0-9]{0,9})\.(?P<checksum>[0-9a-f]{8})?\.(?P<incarnation>[A-Za-z0-9_-]{0,32})"
    r"\.(?P<id>[A-Za-z0-9._~-]{1,128})"
)
_MAX_SEQUENCE: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """Place in the events of a generation. `str()` is its text, which `Cursor.parse` reads in any language.

    - `generation_id`: the generation.
    - `sequence`: the last event that was read; 0 for none.
    - `log_incarnation`: the name of the stored events; empty if unknown.
    - `checksum`: CRC-32 of all output up to that event; None if unknown, and before any output.
    """

    generation_id: str
    sequence: int = 0
    log_incarnation: str = ""
    checksum: int | None = None

    def __str__(self) -> str:
        checksum = "" if self.checksum is None else f"{self.checksum:08x}"
        return f"tg1.{self.sequence}.{checksum}.{self.log_incarnation}.{self.generation_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Reads a cursor from its text. Raises InvalidRequestError (INVALID_CURSOR) for any other text."""
        parts = _TEXT.fullmatch(text)
        if parts is None or int(parts["sequence"]) > _MAX_SEQUENCE:
            raise invalid_cursor(text)
        checksum = parts["checksum"]
        return cls(
            generation_id=parts["id"],
            sequence=int(parts["sequence"]),
            log_incarnation=parts["incarnation"],
            checksum=int(checksum, 16) if checksum else None,
        )
