"""Puts the messages of a generation's streams together: each event once, in order, without gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2

from tokengrpc.client.errors import ServerFailedError

if TYPE_CHECKING:
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse


class _Call:
    """A tool call as it comes; a message's field would be copied whole for each piece of the arguments."""

    __slots__ = ("arguments", "function_name", "id")

    def __init__(self) -> None:
        self.id = ""
        self.function_name = ""
        self.arguments: list[str] = []


class Assembler:
    """What has arrived of a generation. It does no I/O: messages go in, text, usage and the end come out."""

    def __init__(self, after: int = 0) -> None:
        """Starts after a sequence: 0, or where an earlier reader stopped."""
        self.sequence = after
        self.usage = usage_pb2.Usage()
        self.started: generation_pb2.Started | None = None
        self.finish: generation_pb2.Finished | None = None
        self.state: generation_pb2.GenerationState = generation_pb2.GENERATION_STATE_UNSPECIFIED
        self.has_output = False
        self._next_index = 0 if after == 0 else None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._thoughts: list[input_pb2.ReasoningPart] = []
        self._thought: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}

    @property
    def text(self) -> str:
        """The answer so far."""
        return _joined(self._text)

    @property
    def reasoning_text(self) -> str:
        """The reasoning so far."""
        return _joined(self._reasoning)

    @property
    def reasoning_parts(self) -> tuple[input_pb2.ReasoningPart, ...]:
        """The reasoning so far in the pieces that the engine wants back; what it wants not is left out."""
        return tuple(self._thoughts)

    @property
    def refusal_text(self) -> str:
        """The refusal so far."""
        return _joined(self._refusal)

    @property
    def tool_calls(self) -> tuple[input_pb2.ToolCall, ...]:
        """The tool calls so far, in order; whole once the generation has finished."""
        return tuple(
            input_pb2.ToolCall(
                id=call.id, function_name=call.function_name, arguments=_joined(call.arguments)
            )
            for _, call in sorted(self._calls.items())
        )

    def add(self, message: StreamTokensResponse) -> bool:
        """Takes a message in; answers whether it holds anything new, a notice included.

        Raises ServerFailedError when something is missing between the last message and this one.
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
            raise self._gap(f"event {message.sequence} came after event {self.sequence}")
        if message.tokens:
            self._tokens(message)
        for fragment in message.tool_call_fragments:
            self._fragment(fragment)
        if message.HasField("usage"):
            self.usage = message.usage
        if event == "started":
            self.started = message.started
            self.state = generation_pb2.GENERATION_STATE_PREFILLING
        elif event == "finished":
            self.end(message.finished)
        self.sequence = message.sequence
        return True

    def end(self, finish: generation_pb2.Finished) -> None:
        """Notes how the generation ended, from its `finished` event or from GetGeneration."""
        self.finish = finish
        if finish.finish_reason == generation_pb2.FINISH_REASON_CANCELLED:
            self.state = generation_pb2.GENERATION_STATE_CANCELLED
        elif finish.status.code != grpc.StatusCode.OK.value[0]:
            self.state = generation_pb2.GENERATION_STATE_FAILED
        else:
            self.state = generation_pb2.GENERATION_STATE_SUCCEEDED

    def _tokens(self, message: StreamTokensResponse) -> None:
        expected = self._next_index
        for token in message.tokens:
            if expected is not None and token.index != expected:
                raise self._gap(f"token {token.index} came where token {expected} was due")
            expected = token.index + token.count
            if token.text:
                self._text.append(token.text)
            if token.reasoning_text:
                self._reasoning.append(token.reasoning_text)
                self._thought.append(token.reasoning_text)
            if token.reasoning_opaque:
                thought = input_pb2.ReasoningPart(text="".join(self._thought), opaque=token.reasoning_opaque)
                self._thoughts.append(thought)
                self._thought.clear()
            if token.refusal_text:
                self._refusal.append(token.refusal_text)
        self._next_index = expected
        self.has_output = True
        self.state = generation_pb2.GENERATION_STATE_GENERATING

    def _fragment(self, fragment: generation_pb2.ToolCallFragment) -> None:
        call = self._calls.get(fragment.call_index)
        if call is None:
            call = self._calls[fragment.call_index] = _Call()
        call.id = call.id or fragment.id
        call.function_name = call.function_name or fragment.function_name
        if fragment.arguments_fragment:
            call.arguments.append(fragment.arguments_fragment)
        self.has_output = True
        self.state = generation_pb2.GENERATION_STATE_GENERATING

    def _gap(self, what: str) -> ServerFailedError:
        return ServerFailedError(
            f"the stream has a gap ({what})", code=grpc.StatusCode.DATA_LOSS, reason="STREAM_GAP"
        )


def _joined(parts: list[str]) -> str:
    """All parts as one, which replaces them, so that asking after each token stays cheap."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""
