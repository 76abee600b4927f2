"""Decoder of the events of Anthropic's Messages API into deltas. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.model import Delta, FinishReason, UsageReport
from tokengrpc.core.text import encodable
from tokengrpc.engines.anthropic.blocks import BlockDecoder
from tokengrpc.engines.anthropic.decoding import decode_event
from tokengrpc.engines.anthropic.opening import Opening
from tokengrpc.engines.anthropic.usage import usage_of, usage_report
from tokengrpc.engines.upstream.errors.complaint import read_complaint
from tokengrpc.engines.upstream.errors.redaction import hiding
from tokengrpc.engines.upstream.response.decoder import StreamDecoder
from tokengrpc.engines.upstream.response.other_apis import MESSAGES
from tokengrpc.errors import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.model import EngineFinish
    from tokengrpc.engines.anthropic.schema import Block, Event, EventDelta, Message, Usage

_HIDE = hiding(None)

# What Claude 2 and older stopped at by themselves: the beginning of the next turn, no stop sequence of a
# request.
_TURN = "\n\nHuman:"

log = structlog.get_logger(__name__)


class EventDecoder(StreamDecoder):
    """Decoder of one response's events into deltas.

    Events of an unknown type are skipped, because the API gains new types. Blocks whose content has no place
    in an answer are named in the log; if a response has nothing else, it is an error.
    """

    api = MESSAGES

    def __init__(self, engine: str, hide: Callable[[str], str] = _HIDE) -> None:
        """Creates a decoder. `hide` redacts secrets in the engine's messages and makes them valid Unicode."""
        super().__init__(engine, hide)
        self._blocks = BlockDecoder()
        self._opening = Opening()
        self._usage = UsageReport()

    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        event = decode_event(payload)
        begin = len(deltas)
        match event.type:
            case "content_block_delta" if event.delta is not None:
                if self._opening.blocks:
                    self._open(event.delta, deltas)
                self._blocks.feed(event.index, event.delta, deltas)
            case "content_block_start" if event.content_block is not None:
                self._open(event.content_block, deltas)
                self._blocks.start(event.index, event.content_block, deltas)
            case "content_block_stop":
                self._blocks.stop(event.index, deltas)
            case _:
                self._take_message_event(event, payload, deltas)
                return
        if len(deltas) > begin:
            self._note_deltas(deltas, begin)

    def _take_message_event(self, event: Event, payload: bytes, deltas: list[Delta]) -> None:
        """Decodes an event that is about the whole message."""
        match event.type:
            case "message_start" if event.message is not None:
                self._identify(event.message.id, event.message.model, deltas)
                self._opening.take(event.message)
                usage = event.message.usage
                # The API's own output count there means nothing yet.
                (self._take_usage if event.message.stop_reason else self._take_input_usage)(usage, deltas)
            case "message_delta":
                self._emit_opening(deltas)
                self._take_stop(event.delta, event)
                self._take_usage(usage_of(event, event.delta), deltas)
            case "message_stop":
                self._take_whole(event.message, deltas)
                self._take_stop(event.message, event)
                self._take_usage(usage_of(event, event.message), deltas)
                self._end_mark(deltas)
            case "message":
                self._identify(event.id, event.model, deltas)
                self._take_whole(event, deltas)
                self._take_usage(event.usage, deltas)
                self._take_stop(event)
            case _ if event.completion or (event.stop_reason and event.type in {"", "completion"}):
                self._take_completion(event, deltas)
            case "error" | "":
                self._take_untyped(json.loads(payload))
            case _ if not self._started:
                self._check_api(json.loads(payload))

    def _take_untyped(self, value: object) -> None:
        """Decodes an error, or fails at an object that is not of this API."""
        complaint = read_complaint(value, self._hide)
        self._complain(complaint)
        if complaint is None:
            self._check_api(value)

    def _take_completion(self, event: Event, deltas: list[Delta]) -> None:
        """Decodes an event of the legacy API of text completions, which some proxies still speak."""
        self._identify(event.id, event.model, deltas)
        if event.completion:
            deltas.append(Delta(text=event.completion))
            self._note_output(answers=True)
        if event.stop_reason:
            if event.stop_reason == "stop_sequence" and event.stop == _TURN:
                self._take_word("end_turn")
            else:
                self._take_word(event.stop_reason, event.stop)

    def _take_stop(self, *parts: EventDelta | Message | Event | None) -> None:
        """Takes the stop reason of the first part that has one."""
        for part in parts:
            if part is not None and part.stop_reason:
                self._take_word(part.stop_reason, part.stop_sequence)
                return

    def _take_whole(self, message: Message | Event | None, deltas: list[Delta]) -> None:
        """Decodes a complete message. Of content that has been streamed, only what follows it is emitted."""
        self._emit_opening(deltas)
        if message is None or not message.content:
            return
        begin = len(deltas)
        if not self._started:
            self._blocks.whole(message.content, deltas)
        else:
            text = "".join(block.text or "" for block in message.content if block.type in {"", "text"})
            rest = self._blocks.text.rest_of(text, self._engine)
            if rest:
                deltas.append(Delta(text=rest))
        self._note_deltas(deltas, begin)

    def _open(self, part: Block | EventDelta, deltas: list[Delta]) -> None:
        """Emits the content of the message's start before a part that has output and does not repeat it."""
        if self._opening.blocks and (part.text or part.thinking or part.type == "tool_use"):
            self._emit_opening(deltas, part)

    def _emit_opening(self, deltas: list[Delta], before: Block | EventDelta | None = None) -> None:
        if self._opening.blocks:
            begin = len(deltas)
            self._blocks.whole(self._opening.release(before), deltas)
            self._note_deltas(deltas, begin)

    def _note_deltas(self, deltas: Sequence[Delta], begin: int) -> None:
        """Notes the output of the deltas from an index on."""
        for delta in deltas[begin:]:
            self._note_output(answers=bool(delta.text or delta.fragments))

    def _take_input_usage(self, usage: Usage | None, deltas: list[Delta]) -> None:
        """Reports the input counts of `message_start`. Its output count means nothing yet and is ignored."""
        if usage is not None:
            before, self._usage = self._usage, usage_report(usage, self._usage, output=None)
            if self._usage != before:
                deltas.append(Delta(count=0, usage=self._usage))

    def _take_usage(self, usage: Usage | None, deltas: list[Delta]) -> None:
        """Reports the counts of any later event."""
        if usage is None:
            return
        before, self._usage = self._usage, usage_report(usage, self._usage, output=usage.output_tokens)
        if not self.complete and self._usage != before:
            deltas.append(Delta(count=0, usage=self._usage))

    def _release(self, deltas: list[Delta]) -> None:
        self._emit_opening(deltas)
        super()._release(deltas)

    def _held(self) -> Delta | None:
        """Returns the arguments of the calls whose blocks have not stopped, if they are withheld."""
        deltas: list[Delta] = []
        if self._finish is not None:
            self._blocks.stop_all(deltas)
        return (
            Delta(fragments=tuple(part for delta in deltas for part in delta.fragments)) if deltas else None
        )

    def _end(self, deltas: list[Delta]) -> None:
        self._emit_opening(deltas)
        if self._finish is None and self._opening.stop_reason:
            self._take_word(self._opening.stop_reason, self._opening.stop_sequence)
            if self.error is not None:
                return
        types = ", ".join(encodable(self._hide(type_)[:64]) for type_ in self._blocks.silent_types)
        if types:
            log.info("content that an answer has no place for was left out", engine=self._engine, types=types)
        finish = self._finish
        if types and not self._started and finish is not None and finish.reason is FinishReason.END:
            deltas.append(Delta(count=0, usage=self._usage))
            self._fail(
                AnswerMismatch(
                    f"engine {self._engine} answered with nothing but content that cannot be passed on "
                    f"({types}); ask for text, or turn off the tools that make it"
                )
            )
            return
        super()._end(deltas)

    def _usage_known(self) -> bool:
        return None not in (self._usage.input, self._usage.output)

    def _last(self, finish: EngineFinish) -> Delta:
        return Delta(count=0, usage=self._usage, finish=finish)
