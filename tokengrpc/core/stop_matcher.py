"""Matches stop sequences across token boundaries. No I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Node:
    """A state of the automaton: the longest suffix of the text so far that is a stop sequence's prefix."""

    __slots__ = ("depth", "fallback", "match", "next")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.next: dict[str, _Node] = {}
        self.fallback: _Node = self
        # The longest stop sequence that is a suffix of the text so far.
        self.match: str | None = None


class StopMatcher:
    """A matcher that finds the first stop sequence in a text that arrives in pieces.

    It holds back text that may be the beginning of a stop sequence. The match that starts first wins; of
    matches that start at the same position, the one that ends first. The automaton is Aho and Corasick's: one
    step per character, however many sequences there are.
    """

    __slots__ = ("_firsts", "_found", "_found_at", "_held", "_node", "_root")

    def __init__(self, stop_sequences: Iterable[str]) -> None:
        stops = tuple(stop_sequences)
        if "" in stops:
            raise ValueError("a stop sequence is empty: give it at least one character")
        self._root = _automaton(stops)
        self._firsts = frozenset(self._root.next)
        self._node = self._root
        self._held = ""
        # A complete match. It loses if a longer sequence that started before it is completed.
        self._found: str | None = None
        self._found_at = 0

    def push(self, text: str) -> tuple[str, str | None]:
        """Returns the text that is safe to emit, and the stop sequence that was matched, if any.

        Nothing may be pushed after a match.
        """
        node = self._node
        if node is self._root and self._firsts.isdisjoint(text):
            return text, None
        buffer = self._held + text
        for end, character in enumerate(text, len(self._held) + 1):
            node = _step(node, character)
            pending_at = end - node.depth
            if node.match is not None and (self._found is None or end - len(node.match) < self._found_at):
                self._found, self._found_at = node.match, end - len(node.match)
            if self._found is not None and pending_at >= self._found_at:
                return self._end(buffer)
        pending_at = len(buffer) - node.depth
        self._node = node
        self._held = buffer[pending_at:]
        self._found_at -= pending_at
        return buffer[:pending_at], None

    def flush(self) -> tuple[str, str | None]:
        """Returns what `push` does, at the end of the text: no held-back prefix can be completed any more."""
        return self._end(self._held)

    def _end(self, buffer: str) -> tuple[str, str | None]:
        found, at = self._found, self._found_at
        self._node, self._held, self._found = self._root, "", None
        return (buffer, None) if found is None else (buffer[:at], found)


def _step(node: _Node, character: str) -> _Node:
    while True:
        following = node.next.get(character)
        if following is not None:
            return following
        if node.depth == 0:
            return node
        node = node.fallback


def _automaton(stops: tuple[str, ...]) -> _Node:
    root = _Node(0)
    for stop in stops:
        node = root
        for depth, character in enumerate(stop, 1):
            node = node.next.setdefault(character, _Node(depth))
        node.match = stop
    # Breadth first, so that the fallbacks, which are shorter, are complete when they are needed.
    queue = deque((root, character, child) for character, child in root.next.items())
    while queue:
        parent, character, node = queue.popleft()
        node.fallback = root if parent is root else _step(parent.fallback, character)
        node.match = node.match or node.fallback.match
        queue.extend((node, following, child) for following, child in node.next.items())
    return root
