"""State of one streamed tool call."""

from __future__ import annotations

from tokengrpc.core.model import ToolCallFragment
from tokengrpc.engines.openai.calls.json_text import JsonText, digest

# Bound on the characters of a call's arguments that are withheld, because its name has not arrived or because
# they follow arguments that were complete. Servers send the name first, and the arguments once.
_MAX_WITHHELD = 1024 * 1024

# Arguments that some proxies send before the real ones, from Anthropic's `input: {}`.
_PLACEHOLDER = "{}"


class CallState:
    """State of one tool call. Its fragments are withheld until its name is complete."""

    __slots__ = (
        "_again",
        "_length",
        "_withheld",
        "arguments",
        "emitted",
        "id",
        "index",
        "name",
        "opaque",
        "repeated_name",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments = JsonText()
        self.emitted = False  # whether the first fragment has been emitted
        self.opaque = b""  # what the engine requires back, until a fragment has it
        self.repeated_name = False  # whether the name came again after complete arguments
        self._withheld: list[str] = []  # pieces of arguments that come with the first fragment
        self._again: list[str] = []  # pieces that followed complete arguments
        self._length = 0  # of all withheld pieces

    def add(self, piece: str, *, named: bool) -> ToolCallFragment | None:
        """Adds a piece of the arguments and returns the fragment to emit, if any.

        A piece may be empty and only complete the name or bring opaque bytes.

        `named`: the name is known to be complete, even if no arguments have arrived.
        """
        if self._withheld and self._withheld == [_PLACEHOLDER] and piece.strip():
            self._withheld.clear()
            self.arguments = JsonText()
        if piece and self.arguments.whole and piece.strip():
            self._count(piece)
            self._again.append(piece)
            piece = ""
        self.arguments.add(piece)
        if self.emitted:
            return self._fragment(piece) if piece or self.opaque else None
        if piece:
            self._count(piece)
            self._withheld.append(piece)
        if not self.name or self._withheld == [_PLACEHOLDER]:
            return None
        return self._first() if named or self._withheld else None

    def release(self) -> list[ToolCallFragment]:
        """Returns what is withheld. Arguments that only repeat the complete ones are dropped."""
        fragments = [] if self.emitted else [self._first()]
        again = "".join(self._again)
        self._again.clear()
        if again and digest(again) != self.arguments.digest:
            fragments.append(self._fragment(again))
        return fragments

    def _first(self) -> ToolCallFragment:
        """Returns the fragment with id, name and all arguments received so far."""
        self.emitted = True
        arguments = "".join(self._withheld)
        self._withheld.clear()
        return self._fragment(arguments, self.id, self.name)

    def _fragment(self, arguments: str, id_: str = "", name: str = "") -> ToolCallFragment:
        opaque, self.opaque = self.opaque, b""
        return ToolCallFragment(
            call_index=self.index, id=id_, function_name=name, arguments=arguments, opaque=opaque
        )

    def _count(self, piece: str) -> None:
        self._length += len(piece)
        if self._length > _MAX_WITHHELD:
            what = "after complete ones" if self.name else "without a name"
            raise ValueError(f"more than {_MAX_WITHHELD} characters in arguments of a tool call {what}")
