"""Tables of usage that fit a width, with bars where a person looks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import wcwidth

from tokengrpc.cli.output import terminal_width
from tokengrpc.cli.sparkline import can_encode
from tokengrpc.escaping import escape_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 80
"""Columns of a table that no terminal shows."""
_LEAST_TEXT = 8
"""Columns that a text has at least, however narrow the terminal."""
_LEAST_BAR = 5
_MOST_BAR = 40
_GAP = "  "


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str | int]],
    bars: Sequence[int] | None = None,
    *,
    whole: int = 0,
) -> list[str]:
    """Returns the lines of a table. Texts are on the left and cut where it is too wide; numbers on the right.

    The first `whole` columns are not cut, because people copy them.

    `bars` are values of the rows, which a terminal shows as bars in the columns that are left. None of them
    is negative.
    """
    texts = [[cell_text(cell) for cell in row] for row in (header, *rows)]
    numeric = [bool(rows) and all(isinstance(row[n], int) for row in rows) for n in range(len(header))]
    widths = [max(wcwidth.wcswidth(row[n]) for row in texts) for n in range(len(header))]
    _shrink(widths, [n < whole or numeric[n] for n in range(len(header))], terminal_width() or _WIDTH)
    lines = [_GAP.join(map(_cell, row, widths, numeric)) for row in texts]
    if bars is not None and (width := terminal_width()) is not None:
        room = min(_MOST_BAR, width - len(_GAP) - sum(widths) - len(_GAP) * (len(widths) - 1))
        if room >= _LEAST_BAR:
            block = "█" if can_encode("█", sys.stdout.encoding) else "#"
            top = max(bars, default=0) or 1
            for n, value in enumerate(bars):
                lines[n + 1] += _GAP + block * -(-value * room // top)
    return [line.rstrip() for line in lines]


def cut_to_terminal(line: str) -> str:
    """Returns a line that fits the terminal; all of it if there is no terminal."""
    width = terminal_width()
    line = escape_line(line)
    return line if width is None else _cell(line, width, right=False).rstrip()


def cell_text(cell: str | int) -> str:
    """Returns a number with separators, or a text that cannot control a terminal."""
    return f"{cell:,}" if isinstance(cell, int) else escape_line(cell)


def _shrink(widths: list[int], kept: Sequence[bool], limit: int) -> None:
    """Makes the widest texts narrower until the table fits, but for columns that are kept as they are."""
    while sum(widths) + len(_GAP) * (len(widths) - 1) > limit:
        widest = max((n for n in range(len(widths)) if not kept[n]), key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= _LEAST_TEXT:
            return
        widths[widest] -= 1


def _cell(text: str, width: int, right: bool) -> str:
    while wcwidth.wcswidth(text) > width:
        text = text[:-2] + "…" if len(text) > 1 else ""
    padding = " " * (width - wcwidth.wcswidth(text))
    return padding + text if right else text + padding
