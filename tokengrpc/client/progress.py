"""What a stream tells about its generation, while it runs and afterwards; the same for both clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenstreaming.v1 import generation_pb2

from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from tokenstreaming.v1.generation_pb2 import Finished, GenerationState, Started, Timing
    from tokenstreaming.v1.input_pb2 import ReasoningPart, ToolCall
    from tokenstreaming.v1.usage_pb2 import Usage

    from tokengrpc.client.resume import Session


class Progress:
    """A view of a session. What is not known yet is empty, zero or None."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def generation_id(self) -> str:
        """The generation's id."""
        return self._session.generation_id

    @property
    def sequence(self) -> int:
        """The last event that arrived: the cursor for resuming; 0 before the first."""
        return self._session.assembler.sequence

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._session.assembler.text

    @property
    def reasoning_text(self) -> str:
        """The model's reasoning so far."""
        return self._session.assembler.reasoning_text

    @property
    def reasoning_parts(self) -> tuple[ReasoningPart, ...]:
        """The reasoning so far in the pieces that the engine wants back, as `Conversation.add` keeps them."""
        return self._session.assembler.reasoning_parts

    @property
    def refusal_text(self) -> str:
        """The model's refusal so far."""
        return self._session.assembler.refusal_text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls so far, in order; whole once the generation has finished."""
        return self._session.assembler.tool_calls

    @property
    def usage(self) -> Usage:
        """Cumulative usage as of the last event."""
        return self._session.assembler.usage

    @property
    def state(self) -> GenerationState:
        """Where the generation stood when it was last heard of."""
        return self._session.assembler.state

    @property
    def started(self) -> Started | None:
        """Which model and engine run it; None until an engine has accepted."""
        return self._session.assembler.started

    @property
    def finish(self) -> Finished | None:
        """How the generation ended; None until it has."""
        return self._session.assembler.finish

    @property
    def finish_reason(self) -> str:
        """Why the generation ended, as the contract names it: `END`, `MAX_TOKENS`, …; empty until it has."""
        finish = self.finish
        if finish is None:
            return ""
        return short_name(generation_pb2.FinishReason, finish.finish_reason, "FINISH_REASON_")

    @property
    def timing(self) -> Timing | None:
        """How long its parts took on the server; None until it has ended."""
        finish = self.finish
        return finish.timing if finish is not None else None
