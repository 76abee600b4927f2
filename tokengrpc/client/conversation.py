"""Conversation with a model. The caller keeps it and sends all of it with each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tokenstreaming.v1 import input_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.client.progress import Progress


class Conversation:
    """Messages of the system, user, assistant and tool roles. The model writes the next assistant message.

    The methods that add a message return the conversation itself, so that calls can be chained.
    """

    def __init__(self, system: str | None = None) -> None:
        self.messages: list[input_pb2.ConversationMessage] = []
        if system is not None:
            self._add_text(input_pb2.ROLE_SYSTEM, system)

    def user(self, text: str) -> Self:
        """Adds a message of the user."""
        return self._add_text(input_pb2.ROLE_USER, text)

    def assistant(self, text: str) -> Self:
        """Adds a message of the model."""
        return self._add_text(input_pb2.ROLE_ASSISTANT, text)

    def tool_result(self, tool_call_id: str, text: str, *, is_error: bool = False) -> Self:
        """Adds the result of a tool call. `is_error` says that the tool failed."""
        result = input_pb2.ToolResult(tool_call_id=tool_call_id, text=text, is_error=is_error)
        return self._add_parts(input_pb2.ROLE_TOOL, [input_pb2.MessagePart(tool_result=result)])

    def add(self, stream: Progress) -> Self:
        """Adds the answer of a stream: its text or refusal, its tool calls and its reasoning parts.

        Adds nothing if the stream has neither text nor tool calls.
        """
        text = stream.text or stream.refusal_text
        calls = [input_pb2.MessagePart(tool_call=call) for call in stream.tool_calls]
        reasoning = [input_pb2.MessagePart(reasoning=part) for part in stream.reasoning_parts]
        if calls or (text and reasoning):
            texts = [input_pb2.MessagePart(text=text)] if text else []
            return self._add_parts(input_pb2.ROLE_ASSISTANT, [*reasoning, *texts, *calls])
        return self.assistant(text) if text else self

    def to_proto(self) -> input_pb2.Conversation:
        """Returns the conversation as a message of the contract."""
        return input_pb2.Conversation(messages=self.messages)

    def _add_text(self, role: input_pb2.Role, text: str) -> Self:
        self.messages.append(input_pb2.ConversationMessage(role=role, text=text))
        return self

    def _add_parts(self, role: input_pb2.Role, parts: Sequence[input_pb2.MessagePart]) -> Self:
        self.messages.append(input_pb2.ConversationMessage(role=role, parts=parts))
        return self
