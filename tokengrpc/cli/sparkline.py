"""Sparklines: a bar for each value, in block characters or, where these cannot be encoded, in ASCII."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*%#"


def bars_for(encoding: str) -> str:
    """Returns the bars that an encoding has, from the lowest to the highest."""
    return BARS if can_encode(BARS, encoding) else ASCII_BARS


def can_encode(text: str, encoding: str) -> bool:
    """Returns whether an encoding, by its name, has all characters of a text."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(values: Sequence[float | None], width: int, bars: str = BARS) -> str:
    """Draws values that are at least 0 in at most `width` columns. None, an unknown value, is a space.

    The scale goes from 0 to the largest value. If there are more values than columns, each column shows the
    largest of its values, so that no stall is hidden.
    """
    columns = min(width, len(values))
    edges = [len(values) * column // columns for column in range(columns + 1)]
    groups = [[value for value in values[begin:end] if value is not None] for begin, end in pairwise(edges)]
    shown = [max(group, default=None) for group in groups]
    top = max((value for value in shown if value is not None), default=0) or 1.0
    return "".join(" " if value is None else _bar(value / top, bars) for value in shown)


def _bar(share: float, bars: str) -> str:
    return bars[min(len(bars) - 1, int(share * len(bars)))]
