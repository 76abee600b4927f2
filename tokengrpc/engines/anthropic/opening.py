"""Content at the start of a message, which the API never has there and some proxies have nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.engines.anthropic.schema import Block, EventDelta, Message


class Opening:
    """What a `message_start` event has beyond the usage.

    Its content is withheld until it is clear whether events of blocks repeat it. Its stop reason counts only
    if no other arrives.
    """

    __slots__ = ("blocks", "stop_reason", "stop_sequence")

    def __init__(self) -> None:
        self.blocks: Sequence[Block] = ()  # those that are withheld
        self.stop_reason = ""
        self.stop_sequence: str | None = None

    def take(self, message: Message) -> None:
        """Withholds the content of a message, and notes its stop reason."""
        self.blocks = message.content or ()
        self.stop_reason, self.stop_sequence = message.stop_reason or "", message.stop_sequence

    def release(self, before: Block | EventDelta | None = None) -> Sequence[Block]:
        """Returns the blocks to emit now, once.

        They are emitted before the first output of another event, unless this output repeats them.
        """
        blocks, self.blocks = self.blocks, ()
        if before is not None and any(_repeats(before, block) for block in blocks):
            return ()
        return blocks


def _repeats(part: Block | EventDelta, block: Block) -> bool:
    """Returns whether the first output of the events begins like a block, or is the same call."""
    pairs = ((part.text, block.text), (part.thinking, block.thinking))
    if any(one and other and (one.startswith(other) or other.startswith(one)) for one, other in pairs):
        return True
    return bool(block.id) and block.id == getattr(part, "id", None)
