"""A talk with a model, kept by its caller and sent whole with each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tokenstreaming.v1 import input_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.client.progress import Progress


class Conversation:
    """Messages of a system, a user, an assistant and tools; the model writes the next assistant message.

    The methods that add a message answer the conversation itself, so that they can be chained.
    """

    def __init__(self, system: str | None = None) -> None:
        self.messages: list[input_pb2.ConversationMessage] = []
        if system is not None:
            self._say(input_pb2.ROLE_SYSTEM, system)

    def user(self, text: str) -> Self:
        """Adds what the user says."""
        return self._say(input_pb2.ROLE_USER, text)

    def assistant(self, text: str) -> Self:
        """Adds what the model said."""
        return self._say(input_pb2.ROLE_ASSISTANT, text)

    def tool_result(self, tool_call_id: str, text: str, *, is_error: bool = False) -> Self:
        """Adds what a tool call gave; `is_error` when it failed."""
        result = input_pb2.ToolResult(tool_call_id=tool_call_id, text=text, is_error=is_error)
        return self._add(input_pb2.ROLE_TOOL, [input_pb2.MessagePart(tool_result=result)])

    def add(self, stream: Progress) -> Self:
        """Adds the answer that a stream brought, its tool calls and the reasoning to be sent back.

        Adds nothing when it brought neither text nor calls.
        """
        text = stream.text or stream.refusal_text
        calls = [input_pb2.MessagePart(tool_call=call) for call in stream.tool_calls]
        thoughts = [input_pb2.MessagePart(reasoning=part) for part in stream.reasoning_parts]
        if calls or (text and thoughts):
            said = [input_pb2.MessagePart(text=text)] if text else []
            return self._add(input_pb2.ROLE_ASSISTANT, [*thoughts, *said, *calls])
        return self.assistant(text) if text else self

    def to_proto(self) -> input_pb2.Conversation:
        """The contract's form of it."""
        return input_pb2.Conversation(messages=self.messages)

    def _say(self, role: input_pb2.Role, text: str) -> Self:
        self.messages.append(input_pb2.ConversationMessage(role=role, text=text))
        return self

    def _add(self, role: input_pb2.Role, parts: Sequence[input_pb2.MessagePart]) -> Self:
        self.messages.append(input_pb2.ConversationMessage(role=role, parts=parts))
        return self
