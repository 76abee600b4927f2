"""What a person chose to see, and the keys that change it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tokengrpc.cli.top.screen.columns import FIGURES, NAME

if TYPE_CHECKING:
    from collections.abc import Callable

SORTED_BY: Final = (NAME, *FIGURES)
"""What rows can be sorted by."""
_PAGE = 10


@dataclass(frozen=True, slots=True)
class View:
    """What is shown. By default, rows are sorted by name, otherwise the largest value comes first.

    `filter` is a part of the names that are shown. `typing` says that keys are added to it. `minute` selects
    the last minute instead of the last interval. `first` is the number of rows that were scrolled out.
    """

    sort: str = NAME
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    minute: bool = True
    servers: bool = False
    help: bool = False
    first: int = 0
    quit: bool = False

    def matches(self, name: str) -> bool:
        """Returns whether the filter lets a name pass."""
        return self.filter.casefold() in name.casefold()


def _sort_by_next(view: View, step: int) -> View:
    number = (SORTED_BY.index(view.sort) + step) % len(SORTED_BY)
    return replace(view, sort=SORTED_BY[number], reverse=False)


def _scroll(view: View, lines: int) -> View:
    return replace(view, first=max(0, view.first + lines))


KEYS: Final[tuple[tuple[tuple[str, ...], str, Callable[[View], View]], ...]] = (
    (("q",), "quit", lambda view: replace(view, quit=True)),
    (("?", "h"), "show or leave this help", lambda view: replace(view, help=not view.help, first=0)),
    ((">", "KEY_RIGHT"), "sort by the next column", lambda view: _sort_by_next(view, 1)),
    (("<", "KEY_LEFT"), "sort by the column before", lambda view: _sort_by_next(view, -1)),
    (("r",), "reverse the order", lambda view: replace(view, reverse=not view.reverse)),
    (("/",), "filter by a part of a name; Enter keeps it", lambda view: replace(view, typing=True, first=0)),
    (
        ("KEY_ESC",),
        "leave the help, remove the filter",
        lambda view: replace(view, filter="", help=False, first=0),
    ),
    (("s",), "servers or models", lambda view: replace(view, servers=not view.servers, first=0)),
    (("w",), "the last minute or the last interval", lambda view: replace(view, minute=not view.minute)),
    (("KEY_DOWN", "j"), "scroll down", lambda view: _scroll(view, 1)),
    (("KEY_UP", "k"), "scroll up", lambda view: _scroll(view, -1)),
    (("KEY_NPAGE",), "scroll down by ten rows", lambda view: _scroll(view, _PAGE)),
    (("KEY_PPAGE",), "scroll up by ten rows", lambda view: _scroll(view, -_PAGE)),
)
"""Keys, by the character or by curses' name, with their meaning and what they change."""

_CHANGES: Final = {key: change for keys, _, change in KEYS for key in keys}
_NAMES: Final = {
    "KEY_RIGHT": "right",
    "KEY_LEFT": "left",
    "KEY_DOWN": "down",
    "KEY_UP": "up",
    "KEY_NPAGE": "PgDn",
    "KEY_PPAGE": "PgUp",
    "KEY_ESC": "Esc",
}


def press(view: View, key: str) -> View:
    """Returns the view after a key was pressed. Keys without a meaning change nothing."""
    if view.typing:
        return _type(view, key)
    change = _CHANGES.get(key)
    return change(view) if change is not None else view


def _type(view: View, key: str) -> View:
    match key:
        case "KEY_ENTER":
            return replace(view, typing=False)
        case "KEY_ESC":
            return replace(view, typing=False, filter="")
        case "KEY_BACKSPACE":
            return replace(view, filter=view.filter[:-1])
    return replace(view, filter=view.filter + key) if len(key) == 1 and key.isprintable() else view


def help_lines() -> list[tuple[str, str]]:
    """Returns each row of the help: keys, and what they do."""
    return [(" ".join(_NAMES.get(key, key) for key in keys), meaning) for keys, meaning, _ in KEYS]
