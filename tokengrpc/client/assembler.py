"""Assembles the messages of all calls of a stream: each event once, in order, without gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2

from tokengrpc.client.errors import ServerFailedError

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
    """Received state of a generation: text, tool calls, usage and finish. It does no I/O."""

    def __init__(self, after: int = 0) -> None:
        """`after` is the sequence of the last event that the caller already has; 0 for none."""
        self.sequence = after
        self.usage = usage_pb2.Usage()
        self.started: generation_pb2.Started | None = None
        self.finish: generation_pb2.Finished | None = None
        self.state: generation_pb2.GenerationState = generation_pb2.GENERATION_STATE_UNSPECIFIED
        self.has_output = False
        self._next_index = 0 if after == 0 else None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._reasoning_parts: list[input_pb2.ReasoningPart] = []
        self._open_reasoning: list[str] = []
        self._refusal: list[str] = []
        self._tool_calls: dict[int, _ToolCall] = {}

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

        Raises ServerFailedError if events or tokens are missing before this message.
        """
        notice = message.WhichOneof("notice")
        if notice is not None:
            if notice != "drain_notice":
                self.state = getattr(message, notice).state
            return True
        event = message.WhichOneof("event")
        if message.sequence <= self.sequence or self.finish is not None:
            return False
        if event is not None and message.sequence != self.sequence + 1:
            raise self._gap(f"event {message.sequence} follows event {self.sequence}")
        if message.tokens:
            self._add_tokens(message)
        for fragment in message.tool_call_fragments:
            self._add_fragment(fragment)
        if message.HasField("usage"):
            self.usage = message.usage
        if event == "started":
            self.started = message.started
            self.state = generation_pb2.GENERATION_STATE_PREFILLING
        elif event == "finished":
            self.set_finish(message.finished)
        self.sequence = message.sequence
        return True

    def set_finish(self, finish: generation_pb2.Finished) -> None:
        """Stores the `finished` event of the generation and derives the state from it."""
        self.finish = finish
        if finish.finish_reason == generation_pb2.FINISH_REASON_CANCELLED:
            self.state = generation_pb2.GENERATION_STATE_CANCELLED
        elif finish.status.code != grpc.StatusCode.OK.value[0]:
            self.state = generation_pb2.GENERATION_STATE_FAILED
        else:
            self.state = generation_pb2.GENERATION_STATE_SUCCEEDED

    def _add_tokens(self, message: StreamTokensResponse) -> None:
        expected = self._next_index
        for token in message.tokens:
            if expected is not None and token.index != expected:
                raise self._gap(f"expected token {expected}, received token {token.index}")
            expected = token.index + token.count
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
        self._next_index = expected
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

    def _gap(self, description: str) -> ServerFailedError:
        return ServerFailedError(
            f"the stream has a gap ({description})", code=grpc.StatusCode.DATA_LOSS, reason="STREAM_GAP"
        )


def _join(parts: list[str]) -> str:
    """Joins all parts and stores the result in their place, so that a read after each token stays cheap."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""
