"""Names of tool calls that arrive in pieces."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ToolNames:
    """The names of a request's tools, by which a piece of a name is told from a name."""

    __slots__ = ("_complete", "_names")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(sorted(set(names)))
        self._complete: frozenset[str] | None = None

    def is_complete(self, name: str) -> bool:
        """Returns whether `name` is a tool's, and no other tool's name begins with it."""
        if self._complete is None:  # most generations make no call
            # In sorted order, a name that begins with another one follows it at once.
            followed = itertools.zip_longest(self._names, self._names[1:], fillvalue="")
            self._complete = frozenset(name for name, after in followed if not after.startswith(name))
        return name in self._complete

    def continues(self, name: str, piece: str) -> bool:
        """Returns whether `piece` continues `name`, or else is the name of another call."""
        if self._begins(name + piece) or (piece.startswith(name) and self._begins(piece)):
            return True
        return name not in self._names

    def join(self, name: str, piece: str) -> str:
        """Returns the name after a piece of it. Some servers repeat all that they have sent of it."""
        if self._begins(name + piece) and not (piece == name and name in self._names):
            return name + piece
        return piece if piece.startswith(name) else name + piece

    def _begins(self, text: str) -> bool:
        """Returns whether a tool's name begins with `text`."""
        return any(name.startswith(text) for name in self._names)
