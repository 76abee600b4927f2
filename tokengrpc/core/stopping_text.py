"""The text of an engine that emits bytes, up to a stop sequence. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.stop_matcher import StopMatcher
from tokengrpc.core.text import IncrementalDecoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class StoppingText:
    """The output text in whole characters, up to a stop sequence."""

    def __init__(self, stop_sequences: Sequence[str], before: Iterable[bytes], emitted: str) -> None:
        """Takes the output of an earlier run as `before`, and its text that subscribers have as `emitted`."""
        self._characters = IncrementalDecoder()
        self._matcher = StopMatcher(stop_sequences)
        self._pending, self._skip = "", 0
        safe = "".join([self.push(raw)[0] for raw in before])
        # The earlier engine may have withheld more text than this one, or less. Text that subscribers lack is
        # emitted with the next token, and text that they have is skipped.
        self._pending, self._skip = safe[len(emitted) :], max(0, len(emitted) - len(safe))

    def push(self, raw: bytes, *, last: bool = False) -> tuple[str, str | None]:
        """Returns the text that is safe to emit, and the stop sequence that was matched, if any.

        `last` releases all text that is held back.
        """
        characters = self._characters.push(raw)
        if last:
            characters += self._characters.flush()
        text, stop = self._matcher.push(characters)
        if last and stop is None:
            rest, stop = self._matcher.flush()
            text += rest
        text = self._pending + text
        skipped, self._pending = min(self._skip, len(text)), ""
        self._skip -= skipped
        return text[skipped:], stop
