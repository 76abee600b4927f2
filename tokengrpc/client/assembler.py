"""Assembles the messages of all calls of a stream: each event once, in order, without gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import grpc
from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2

from tokengrpc.client.cursor import Cursor
from tokengrpc.client.local_errors import checksum_mismatch, stream_gap

if TYPE_CHECKING:
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse


class _ToolCall:
    """Tool call under assembly.

    A protobuf string field would be copied in full for each appended fragment of the arguments.
    """

    __slots__ = ("arguments", "function_name", "id", "opaque")

    def __init__(self) -> None:
        self.id = ""
        self.function_name = ""
        self.arguments: list[str] = []
        self.opaque = b""


class Assembler:
    """Received state of a generation: text, tool calls, usage, finish and cursor. It does no I/O."""

    def __init__(self, cursor: Cursor) -> None:
        """`cursor` is the place after which the caller reads."""
        self.sequence = cursor.sequence
        self._generation_id = cursor.generation_id
        self._log_incarnation = cursor.log_incarnation
        self._checksum = cursor.checksum
        # Without the checksum of the events before the cursor, the first one that arrives is taken as it is.
        self._checksum_known = cursor.sequence == 0 or cursor.checksum is not None
        self.usage = usage_pb2.Usage()
        self.started: generation_pb2.Started | None = None
        self.finish: generation_pb2.Finished | None = None
        self.state: generation_pb2.GenerationState = generation_pb2.GENERATION_STATE_UNSPECIFIED
        self.has_output = False
        self._next_index = 0 if cursor.sequence == 0 else None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._reasoning_parts: list[input_pb2.ReasoningPart] = []
        self._open_reasoning: list[str] = []
        self._refusal: list[str] = []
        self._tool_calls: dict[int, _ToolCall] = {}

    @property
    def cursor(self) -> Cursor:
        """The place after the last event."""
        return Cursor(self._generation_id, self.sequence, self._log_incarnation, self._checksum)

    @property
    def text(self) -> str:
        """The answer so far."""
        return _join(self._text)

    @property
    def reasoning_text(self) -> str:
        """The reasoning so far."""
        return _join(self._reasoning)

    @property
    def reasoning_parts(self) -> tuple[input_pb2.ReasoningPart, ...]:
        """The completed reasoning parts to send back to the engine. Reasoning it does not need is omitted."""
        return tuple(self._reasoning_parts)

    @property
    def refusal_text(self) -> str:
        """The refusal so far."""
        return _join(self._refusal)

    @property
    def tool_calls(self) -> tuple[input_pb2.ToolCall, ...]:
        """The tool calls so far, in order. They are complete once the generation has finished."""
        return tuple(
            input_pb2.ToolCall(
                id=call.id,
                function_name=call.function_name,
                arguments=_join(call.arguments),
                opaque=call.opaque,
            )
            for _, call in sorted(self._tool_calls.items())
        )

    def add(self, message: StreamTokensResponse) -> bool:
        """Adds a message and returns whether it is new. Notices are always new.

        Raises ServerFailedError, and adds nothing, if events or tokens are missing before this message, or if
        its checksum is not that of the output.
        """
        notice = message.WhichOneof("notice")
        if notice is not None:
            self._add_notice(message, notice)
            return True
        event = message.WhichOneof("event")
        if message.sequence <= self.sequence or self.finish is not None:
            return False
        if event is not None and message.sequence != self.sequence + 1:
            raise stream_gap(f"event {message.sequence} follows event {self.sequence}")
        next_index = self._index_after(message)
        self._checksum = self._checksum_after(message)
        if message.tokens:
            self._next_index = next_index
            self._add_tokens(message)
        for fragment in message.tool_call_fragments:
            self._add_fragment(fragment)
        if message.HasField("usage"):
            self.usage = message.usage
        if event == "started":
            self.started = message.started
            self._log_incarnation = message.started.log_incarnation or self._log_incarnation
            self.state = generation_pb2.GENERATION_STATE_PREFILLING
        elif event == "finished":
            self.set_finish(message.finished)
        self.sequence = message.sequence
        return True

    def _add_notice(self, message: StreamTokensResponse, notice: str) -> None:
        if notice != "drain_notice":
            self.state = getattr(message, notice).state
        if notice == "attached":
            self._log_incarnation = message.attached.log_incarnation or self._log_incarnation

    def set_finish(self, finish: generation_pb2.Finished) -> None:
        """Stores the `finished` event of the generation and derives the state from it."""
        self.finish = finish
        if finish.finish_reason == generation_pb2.FINISH_REASON_CANCELLED:
            self.state = generation_pb2.GENERATION_STATE_CANCELLED
        elif finish.status.code != grpc.StatusCode.OK.value[0]:
            self.state = generation_pb2.GENERATION_STATE_FAILED
        else:
            self.state = generation_pb2.GENERATION_STATE_SUCCEEDED

    def _index_after(self, message: StreamTokensResponse) -> int | None:
        """Returns the index that must follow the message's tokens. Raises ServerFailedError for a gap."""
        expected = self._next_index
        for token in message.tokens:
            if expected is not None and token.index != expected:
                raise stream_gap(f"expected token {expected}, received token {token.index}")
            expected = token.index + token.count
        return expected

    def _checksum_after(self, message: StreamTokensResponse) -> int | None:
        """Returns the checksum of all output up to the message. Raises ServerFailedError for another one."""
        sent = message.output_checksum if message.HasField("output_checksum") else None
        if not self._checksum_known:
            self._checksum_known = sent is not None
            return sent
        if not message.tokens and not message.tool_call_fragments:
            checksum = self._checksum
        else:
            checksum = crc32(_output(message).encode(), self._checksum or 0)
        if sent is not None and sent != (checksum or 0):
            raise checksum_mismatch(message.sequence, sent, checksum or 0)
        return checksum

    def _add_tokens(self, message: StreamTokensResponse) -> None:
        for token in message.tokens:
            if token.text:
                self._text.append(token.text)
            if token.reasoning_text:
                self._reasoning.append(token.reasoning_text)
                self._open_reasoning.append(token.reasoning_text)
            if token.reasoning_opaque:
                part = input_pb2.ReasoningPart(
                    text="".join(self._open_reasoning), opaque=token.reasoning_opaque
                )
                self._reasoning_parts.append(part)
                self._open_reasoning.clear()
            if token.refusal_text:
                self._refusal.append(token.refusal_text)
        self.has_output = True
        self.state = generation_pb2.GENERATION_STATE_GENERATING

    def _add_fragment(self, fragment: generation_pb2.ToolCallFragment) -> None:
        call = self._tool_calls.get(fragment.call_index)
        if call is None:
            call = self._tool_calls[fragment.call_index] = _ToolCall()
        call.id = call.id or fragment.id
        call.function_name = call.function_name or fragment.function_name
        call.opaque = fragment.opaque or call.opaque
        if fragment.arguments_fragment:
            call.arguments.append(fragment.arguments_fragment)
        self.has_output = True
        self.state = generation_pb2.GENERATION_STATE_GENERATING


def _output(message: StreamTokensResponse) -> str:
    """Returns the output of a message in the order of the checksum."""
    parts = [
        part for token in message.tokens for part in (token.text, token.reasoning_text, token.refusal_text)
    ]
    for fragment in message.tool_call_fragments:
        parts += (fragment.id, fragment.function_name, fragment.arguments_fragment)
    return "".join(parts)


def _join(parts: list[str]) -> str:
    """Joins all parts and stores the result in their place, so that a read after each token stays cheap."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""
