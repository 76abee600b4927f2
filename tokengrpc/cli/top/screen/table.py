"""Tables of text that fit a width: columns are left out by rank, and names are cut."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from wcwidth import iter_graphemes, wcswidth

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_TEXT = 12
"""Columns that a name or a text at the left has at least, if it needs them."""


class Style(Enum):
    """How a piece of text looks on a terminal that has styles."""

    PLAIN = auto()
    BOLD = auto()
    DIM = auto()
    ALERT = auto()
    TITLE = auto()


Line = list[tuple[str, Style]]
"""A line of the screen: pieces of text with their styles."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, with its text at the right or left. A narrow table has only those of the lowest ranks.

    Text at the left may be cut.
    """

    title: str
    rank: int
    left: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its name, and the text for each column."""

    name: str
    cells: Sequence[str]
    style: Style = Style.PLAIN


def table(
    heads: tuple[str, Sequence[Column]], rows: Sequence[Row], *, width: int, ellipsis: str, marked: str = ""
) -> list[Line]:
    """Returns the line of titles and a line for each row, of at most `width` columns.

    `heads` are the title of the names, and the columns. `marked` is the title that is shown bold.
    """
    title, columns = heads
    longest = max(map(columns_of, (title, *(row.name for row in rows))))
    name_width = min(longest, max(_LEAST_TEXT, width // 4))
    widths, free = _widths(columns, rows, width - name_width, max(_LEAST_TEXT, width // 3))
    name_width = min(longest, name_width + free)

    def line(name: str, cells: Sequence[str], styles: Sequence[Style]) -> Line:
        shown = [(fit(name, name_width, ellipsis), styles[0])]
        for number, column_width in sorted(widths.items()):
            text = fit(cells[number], column_width, ellipsis, left=columns[number].left)
            shown.append((f" {text}", styles[number + 1]))
        return shown

    titles = [column.title for column in columns]
    styles = [Style.BOLD if it == marked else Style.DIM for it in (title, *titles)]
    plain = [line(row.name, row.cells, [row.style] * (len(titles) + 1)) for row in rows]
    return [line(title, titles, styles), *plain]


def _widths(
    columns: Sequence[Column], rows: Sequence[Row], free: int, least: int
) -> tuple[dict[int, int], int]:
    """Returns the widths of the columns that fit, by their number, and the width that is left.

    `least` is how much of `free` a text at the left needs, if it is as long.
    """
    widths: dict[int, int] = {}
    wanted = [
        max(columns_of(text) for text in (column.title, *(row.cells[number] for row in rows)))
        for number, column in enumerate(columns)
    ]
    for number in sorted(range(len(columns)), key=lambda number: columns[number].rank):
        needed = min(wanted[number], least) if columns[number].left else wanted[number]
        if needed + 1 > free:
            break
        widths[number] = needed
        free -= needed + 1
    for number, width in widths.items():
        more = min(free, wanted[number] - width)
        widths[number] = width + more
        free -= more
    return widths, free


def fit(text: str, width: int, ellipsis: str, *, left: bool = True) -> str:
    """Returns text that takes exactly `width` columns: it is cut, or filled with spaces."""
    missing = width - columns_of(text)
    if missing < 0:
        text = cut(text, width, ellipsis)
        missing = width - columns_of(text)
    return text + " " * missing if left else " " * missing + text


def cut(text: str, width: int, ellipsis: str) -> str:
    """Returns text that takes at most `width` columns. Text that is cut ends with `ellipsis`."""
    if columns_of(text) <= width:
        return text
    kept, used = "", len(ellipsis)
    for grapheme in iter_graphemes(text):
        used += columns_of(grapheme)
        if used > width:
            break
        kept += grapheme
    return (kept + ellipsis)[:width] if width < len(ellipsis) else kept + ellipsis


def columns_of(text: str) -> int:
    """Returns the number of columns that a terminal needs for a text."""
    return len(text) if text.isascii() else max(0, wcswidth(text))
