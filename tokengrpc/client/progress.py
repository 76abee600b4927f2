"""Progress of a stream's generation, readable while it runs and afterwards. Shared by both clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenstreaming.v1 import generation_pb2

from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from tokenstreaming.v1.generation_pb2 import Finished, GenerationState, Started, Timing
    from tokenstreaming.v1.input_pb2 import ReasoningPart, ToolCall
    from tokenstreaming.v1.usage_pb2 import Usage

    from tokengrpc.client.cursor import Cursor
    from tokengrpc.client.resume import Session


class Progress:
    """Read-only view of a session. Values that are not known yet are empty, zero or None."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        done = self.finish_reason or ("not started" if self.started is None else "running")
        return f"<{type(self).__name__} {self.generation_id}: {done}, {self.usage.output_token_count} tokens>"

    @property
    def generation_id(self) -> str:
        """The generation's id."""
        return self._session.generation_id

    @property
    def sequence(self) -> int:
        """The sequence of the last received event; 0 before the first."""
        return self._session.assembler.sequence

    @property
    def cursor(self) -> Cursor:
        """The place after the last received message, from which `resume` goes on, in any language."""
        return self._session.assembler.cursor

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
        """The completed reasoning parts to send back to the engine. `Conversation.add` adds them."""
        return self._session.assembler.reasoning_parts

    @property
    def refusal_text(self) -> str:
        """The model's refusal so far."""
        return self._session.assembler.refusal_text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls so far, in order. They are complete once the generation has finished."""
        return self._session.assembler.tool_calls

    @property
    def usage(self) -> Usage:
        """Cumulative usage as of the last event."""
        return self._session.assembler.usage

    @property
    def state(self) -> GenerationState:
        """The state of the generation as of the last message."""
        return self._session.assembler.state

    @property
    def started(self) -> Started | None:
        """The `started` event with model and engine; None until an engine has accepted the request."""
        return self._session.assembler.started

    @property
    def finish(self) -> Finished | None:
        """The `finished` event; None until the generation has ended."""
        return self._session.assembler.finish

    @property
    def finish_reason(self) -> str:
        """The finish reason without prefix: `END`, `MAX_TOKENS`, …; empty until the generation has ended."""
        finish = self.finish
        if finish is None:
            return ""
        return short_name(generation_pb2.FinishReason, finish.finish_reason, "FINISH_REASON_")

    @property
    def timing(self) -> Timing | None:
        """The durations that the server measured; None until the generation has ended."""
        finish = self.finish
        return finish.timing if finish is not None else None
