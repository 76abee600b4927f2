"""Escaping of characters that can control a terminal or reorder its text."""

from __future__ import annotations

import re

# Unicode's bidirectional controls (UAX #9): embeddings, overrides and isolates reorder the text around them.
_REORDERING = "\u202a-\u202e\u2066-\u2069"
# The marks reorder only the neighbouring neutral characters, and right-to-left text needs them.
_MARKS = "\u061c\u200e\u200f"
# C0 without tab and line feed, DEL, C1, and the two separators that some terminals take for line ends.
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"

MAX_ID_LENGTH = 128
"""Most characters of an id that an engine gave its response."""

_UNSAFE_IN_TEXT = re.compile(f"[{_CONTROLS}{_REORDERING}]")
_UNSAFE_IN_LINE = re.compile(f"[\t\n{_CONTROLS}{_REORDERING}{_MARKS}]")


def escape_text(text: str) -> str:
    r"""Escapes what can control a terminal, as `\x1b` and `\u202e`. Line feeds, tabs and marks are kept.

    For text of several lines, such as an answer or a traceback.
    """
    return _UNSAFE_IN_TEXT.sub(_escape, text)


def escape_line(text: str) -> str:
    """Escapes like `escape_text`, and line feeds, tabs and marks too: for a value within one line."""
    return _UNSAFE_IN_LINE.sub(_escape, text)


def escape_id(text: str) -> str:
    """Escapes an id that others chose, like `escape_line`, and cuts it to MAX_ID_LENGTH characters."""
    return escape_line(text[:MAX_ID_LENGTH])[:MAX_ID_LENGTH]


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
