"""Decoder of the events of Anthropic's Messages API into deltas. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokengrpc.core.model import Delta, ToolCallFragment, UsageReport
from tokengrpc.core.text import encodable
from tokengrpc.engines.anthropic.decoding import decode_event
from tokengrpc.engines.anthropic.reasoning import opaque_redacted, opaque_signature
from tokengrpc.engines.upstream.complaint import read_complaint
from tokengrpc.engines.upstream.counts import first_known, newest
from tokengrpc.engines.upstream.redaction import hiding
from tokengrpc.engines.upstream.stream_decoder import StreamDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.model import EngineFinish
    from tokengrpc.engines.anthropic.schema import Block, Event, EventDelta, Message, Usage

# Bound on the calls of one generation. No model makes that many, so more is treated as malformed output.
_MAX_CALLS = 1024

_HIDE = hiding(None)


# Marks in the type of a block or delta that holds reasoning, whatever field its text is in.
_REASONING_MARKS = ("think", "reason")


class _Call:
    """A tool call whose block has not stopped.

    `input` holds the arguments that came with the start of the block. They are withheld until the block
    stops, because some servers send the same in pieces afterwards.
    """

    __slots__ = ("has_arguments", "index", "input")

    def __init__(self, index: int, arguments: str) -> None:
        self.index = index
        self.input = arguments
        self.has_arguments = False


class EventDecoder(StreamDecoder):
    """Decoder of one response's events into deltas.

    Events and blocks of an unknown type are skipped, because the API gains new types.
    """

    def __init__(self, engine: str, hide: Callable[[str], str] = _HIDE) -> None:
        """Creates a decoder. `hide` redacts secrets in the engine's messages and makes them valid Unicode."""
        super().__init__(engine, hide)
        self._open_calls: dict[int, _Call] = {}  # by the index of their block
        self._server_tools: set[int] = set()  # indexes of the blocks of tools that the API runs itself
        self._reasoning_blocks: set[int] = set()  # indexes of the blocks whose text is reasoning
        self._call_count = 0
        self._usage = UsageReport()

    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        event = decode_event(payload)
        match event.type:
            case "content_block_delta":
                self._take_block_delta(event.index, event.delta, deltas)
            case "content_block_start":
                self._start_block(event.index, event.content_block, deltas)
            case "content_block_stop":
                self._stop_block(event.index, deltas)
            case "message_start" if event.message is not None:
                self._take_input_usage(event.message.usage, deltas)
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason:
                    self._take_word(event.delta.stop_reason, event.delta.stop_sequence)
                self._take_usage(_usage_of(event, event.delta), deltas)
            case "message_stop":
                self._take_usage(_usage_of(event, event.message), deltas)
                self._end_mark(deltas)
            case "message":
                self._take_message(event, deltas)
            case "error" | "":
                self._complain(read_complaint(json.loads(payload), self._hide))

    def _start_block(self, index: int, block: Block | None, deltas: list[Delta]) -> None:
        """Starts a block and emits its content. Only some proxies send content with the start."""
        if block is None:
            return
        self._reasoning_blocks.discard(index)
        if block.type == "tool_use":
            if self._call_count >= _MAX_CALLS:
                raise ValueError(f"more than {_MAX_CALLS} tool calls")
            self._stop_block(index, deltas)
            arguments = json.dumps(block.input, ensure_ascii=False) if block.input else "{}"
            self._open_calls[index] = _Call(self._call_count, arguments)
            self._call_count += 1
            self._emit_fragment(self._open_calls[index], deltas, block.id or "", block.name or "")
        elif block.type.endswith("_tool_use"):
            self._server_tools.add(index)
        elif block.type == "redacted_thinking":
            self._emit(deltas, Delta(count=0, opaque=opaque_redacted(block.data or "")))
        else:
            self._emit_texts(index, block, deltas)
            if any(mark in block.type for mark in _REASONING_MARKS) and not (block.text or block.thinking):
                self._reasoning_blocks.add(index)

    def _take_block_delta(self, index: int, delta: EventDelta | None, deltas: list[Delta]) -> None:
        if delta is None:
            return
        if delta.partial_json:
            if index in self._server_tools:
                return
            call = self._open_calls.get(index)
            if call is None and self._open_calls:
                call = next(reversed(self._open_calls.values()))  # some servers number the events otherwise
            if call is not None:
                self._emit_fragment(call, deltas, arguments=delta.partial_json)
        else:
            self._emit_texts(index, delta, deltas)

    def _stop_block(self, index: int, deltas: list[Delta]) -> None:
        self._reasoning_blocks.discard(index)
        call = self._open_calls.pop(index, None)
        if call is not None and not call.has_arguments:
            # The API sends nothing for a call without arguments, but the contract's arguments are JSON.
            self._emit_fragment(call, deltas, arguments=call.input)

    def _emit_texts(self, index: int, part: Block | EventDelta, deltas: list[Delta]) -> None:
        text, thinking = part.text or "", part.thinking or ""
        if thinking:
            # The block's reasoning has its own field, so text at this index is the answer.
            self._reasoning_blocks.discard(index)
        if text and (index in self._reasoning_blocks or any(mark in part.type for mark in _REASONING_MARKS)):
            text, thinking = "", thinking or text
        if text or thinking:
            self._emit(deltas, Delta(text=text, reasoning=thinking))
        if part.signature:
            self._emit(deltas, Delta(count=0, opaque=opaque_signature(part.signature)))

    def _emit_fragment(
        self, call: _Call, deltas: list[Delta], id_: str = "", name: str = "", arguments: str = ""
    ) -> None:
        call.has_arguments = call.has_arguments or bool(arguments)
        fragment = ToolCallFragment(
            call_index=call.index, id=encodable(id_), function_name=encodable(name), arguments=arguments
        )
        self._emit(deltas, Delta(fragments=(fragment,)))

    def _emit(self, deltas: list[Delta], delta: Delta) -> None:
        self._note_output(answers=bool(delta.text or delta.fragments))
        deltas.append(delta)

    def _take_input_usage(self, usage: Usage | None, deltas: list[Delta]) -> None:
        """Reports the input counts of `message_start`. Its output count means nothing yet and is ignored."""
        if usage is not None:
            before, self._usage = self._usage, _report(usage, self._usage, output=None)
            if self._usage != before:
                deltas.append(Delta(count=0, usage=self._usage))

    def _take_usage(self, usage: Usage | None, deltas: list[Delta]) -> None:
        """Reports the counts of any later event."""
        if usage is None:
            return
        before, self._usage = self._usage, _report(usage, self._usage, output=usage.output_tokens)
        if not self.complete and self._usage != before:
            deltas.append(Delta(count=0, usage=self._usage))

    def _take_message(self, event: Event, deltas: list[Delta]) -> None:
        """Decodes a complete response. Its content is skipped if it has been streamed before."""
        if not self._started:
            for index, block in enumerate(event.content or ()):
                self._start_block(index, block, deltas)
                self._stop_block(index, deltas)
        self._take_usage(event.usage, deltas)
        if event.stop_reason:
            self._take_word(event.stop_reason, event.stop_sequence)

    def _held(self) -> Delta | None:
        """Returns the arguments of the calls whose blocks have not stopped, if they are withheld."""
        deltas: list[Delta] = []
        if self._finish is not None:
            for index in list(self._open_calls):
                self._stop_block(index, deltas)
        return (
            Delta(fragments=tuple(part for delta in deltas for part in delta.fragments)) if deltas else None
        )

    def _usage_known(self) -> bool:
        return None not in (self._usage.input, self._usage.output)

    def _last(self, finish: EngineFinish) -> Delta:
        return Delta(count=0, usage=self._usage, finish=finish)


def _usage_of(event: Event, part: EventDelta | Message | None) -> Usage | None:
    """Returns the usage of an event, or else the one that some proxies put into its part."""
    return event.usage or (None if part is None else part.usage)


def _report(usage: Usage, before: UsageReport, output: int | None) -> UsageReport:
    """Returns the new counts, with the counts of `before` where `usage` has none.

    Unlike the API's `input_tokens`, the report's input includes tokens read from and written to the cache.
    A zero after a known count is no count: proxies send it in the last event although they had told it.
    """
    cached = usage.cache_read_input_tokens or before.cached_input
    written = usage.cache_creation_input_tokens or before.cache_write_input
    parts = (cached or 0) + (written or 0)
    uncached = usage.input_tokens
    known = before.input or 0
    if uncached:
        input_ = uncached + parts
    elif uncached is None and known:
        input_ = known - (before.cached_input or 0) - (before.cache_write_input or 0) + parts
    else:
        input_ = max(known, parts)
    details = usage.output_tokens_details
    return newest(
        UsageReport(
            input=input_ or None,
            output=output or None,
            cached_input=first_known(cached, usage.cache_read_input_tokens),
            cache_write_input=first_known(written, usage.cache_creation_input_tokens),
            reasoning=details.thinking_tokens if details else None,
        ),
        before,
    )
