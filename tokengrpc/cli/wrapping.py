"""Wrapping of streamed text at word boundaries, in terminal columns. Pure: text goes in, output comes out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wcwidth import iter_graphemes, wcswidth

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAB = 8
_SPACES = " \t"
# A line break, a run of spaces, or a word.
_PART = re.compile(r"\n|[ \t]+|[^ \t\n]+")


@dataclass(slots=True)
class Wrapper:
    """Wraps text that arrives in pieces of any length, which are shown at once.

    The beginning of a word may be on the terminal before its end is known. If the word then does not fit into
    the line, its beginning is erased and written again on the next line. A line may be broken before and
    after a wide character, because the scripts that have them do not put spaces between words.
    """

    column: int = 0
    """Column of the cursor; the width of the terminal if the line is full."""
    _word: str = ""
    """The last word, or the part of it on the current line, to which more may be added."""
    _begin: int = 0
    """The column at which it begins."""

    def wrap(self, text: str, width: int) -> str:
        """Returns the output that adds `text` to what the terminal of `width` columns shows."""
        shown, self._word = self._word, ""
        output = []
        units = list(_units(shown + text))
        if shown and not units[0].startswith(shown):
            # The new text has changed a character that is shown, for example from narrow to wide.
            output.append(self._erase())
            shown = ""
        for unit in units:
            output.append(self._put(unit, shown, width))
            shown = ""
        return "".join(output)

    def _put(self, unit: str, shown: str, width: int) -> str:
        """Returns the output for a unit of which `shown`, its beginning, is on the terminal already."""
        if unit == "\n":
            self._keep("", 0, 0)
            return unit
        if unit[0] in _SPACES:
            # Spaces beyond the end of the line are dropped.
            line = (" " * self.column + unit).expandtabs(_TAB)[self.column : width]
            self._keep("", 0, self.column + len(line))
            return line
        begin = self._begin if shown else self.column
        columns = _columns(unit)
        if begin and begin + columns > width:
            erased = self._erase() if shown else ""
            return f"{erased}\n{self._put_first(unit, width)}"
        if not begin:
            return self._put_first(unit, width)[len(shown) :]
        self._keep(unit, begin, columns)
        return unit[len(shown) :]

    def _put_first(self, word: str, width: int) -> str:
        """Returns the output for a unit at the beginning of a line, broken if it is longer than a line."""
        lines, line, columns = [], "", 0
        for grapheme in iter_graphemes(word):
            size = _columns(grapheme)
            if line and columns + size > width:
                lines.append(line)
                line, columns = "", 0
            line += grapheme
            columns += size
        self._keep(line, 0, columns)
        return "\n".join([*lines, line])

    def _erase(self) -> str:
        """Returns the output that erases the shown part of the last word."""
        self.column = self._begin
        # An absolute column, because terminals differ in relative ones once a line is full.
        return f"\x1b[{self._begin + 1}G\x1b[K"

    def _keep(self, word: str, begin: int, columns: int) -> None:
        self._word, self._begin, self.column = word, begin, begin + columns


def _units(text: str) -> Iterator[str]:
    """Yields line breaks, runs of spaces, words and, each alone, wide characters."""
    for part in _PART.findall(text):
        if part[0] in _SPACES or part == "\n" or part.isascii():
            yield part
        else:
            yield from _words(part)


def _words(part: str) -> Iterator[str]:
    narrow = ""
    for grapheme in iter_graphemes(part):
        if _columns(grapheme) > 1:
            if narrow:
                yield narrow
            yield grapheme
            narrow = ""
        else:
            narrow += grapheme
    if narrow:
        yield narrow


def _columns(text: str) -> int:
    return max(0, wcswidth(text))
