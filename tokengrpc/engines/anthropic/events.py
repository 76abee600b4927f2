"""Events of Anthropic's Messages API, made into deltas. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokengrpc.core.model import Delta, ToolCallFragment, UsageReport
from tokengrpc.core.text import encodable
from tokengrpc.engines.anthropic.reasoning import redacted, signature
from tokengrpc.engines.anthropic.schema import Event, decode_event
from tokengrpc.engines.upstream.errors import read_complaint
from tokengrpc.engines.upstream.finish_reasons import read_finish
from tokengrpc.engines.upstream.redaction import hiding
from tokengrpc.engines.upstream.stream_decoder import StreamDecoder
from tokengrpc.errors import EngineAborted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.model import EngineFinish
    from tokengrpc.engines.anthropic.schema import Block, Piece, Usage

# The most calls of one answer; more is no model's honest output.
_CALLS = 1024

_HIDE = hiding(None)


class _Call:
    """A tool call under way."""

    __slots__ = ("index", "said")

    def __init__(self, index: int) -> None:
        self.index = index
        self.said = False  # whether there were arguments


class EventDecoder(StreamDecoder):
    """Makes one response's events into deltas. What it cannot place is skipped: new kinds appear."""

    def __init__(self, engine: str, hide: Callable[[str], str] = _HIDE) -> None:
        """`hide` makes an engine's words fit to be told."""
        super().__init__(engine, hide)
        self._calls: dict[int, _Call] = {}  # those under way, by their block
        self._called = 0
        self._usage = UsageReport()

    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        event = decode_event(payload)
        match event.type:
            case "content_block_delta":
                self._piece(event.index, event.delta, deltas)
            case "content_block_start":
                self._begin(event.index, event.content_block, deltas)
            case "content_block_stop":
                self._stop(event.index, deltas)
            case "message_start" if event.message is not None:
                self._count_input(event.message.usage, deltas)
            case "message_delta":
                if event.delta is not None:
                    self._take_finish(event.delta.stop_reason, event.delta.stop_sequence)
                self._take_usage(event.usage, deltas)
            case "message_stop":
                self._end(deltas)
            case "message":
                self._whole(event, deltas)
            case "error" | "":
                self._complain(read_complaint(json.loads(payload), self._hide))

    def _begin(self, index: int, block: Block | None, deltas: list[Delta]) -> None:
        """A block begins; its content is empty then, in all servers but some proxies."""
        if block is None:
            return
        if block.type == "tool_use":
            if self._called >= _CALLS:
                raise ValueError(f"more than {_CALLS} tool calls")
            self._calls[index] = _Call(self._called)
            self._called += 1
            arguments = json.dumps(block.input, ensure_ascii=False) if block.input else ""
            self._fragment(self._calls[index], deltas, block.id or "", block.name or "", arguments)
        elif block.type == "redacted_thinking":
            self._say(deltas, Delta(count=0, opaque=redacted(block.data or "")))
        else:
            self._speak(block.text, block.thinking, block.signature, deltas)

    def _piece(self, index: int, piece: Piece | None, deltas: list[Delta]) -> None:
        if piece is None:
            return
        if piece.partial_json:
            call = self._calls.get(index)
            if call is not None:  # otherwise a tool of the server's own, which runs there
                self._fragment(call, deltas, arguments=piece.partial_json)
        else:
            self._speak(piece.text, piece.thinking, piece.signature, deltas)

    def _stop(self, index: int, deltas: list[Delta]) -> None:
        call = self._calls.pop(index, None)
        if call is not None and not call.said:
            self._fragment(call, deltas, arguments="{}")  # no arguments at all, which must be JSON too

    def _speak(self, text: str | None, thinking: str | None, sign: str | None, deltas: list[Delta]) -> None:
        if text or thinking:
            self._say(deltas, Delta(text=text or "", reasoning=thinking or ""))
        if sign:
            self._say(deltas, Delta(count=0, opaque=signature(sign)))

    def _fragment(
        self, call: _Call, deltas: list[Delta], id_: str = "", name: str = "", arguments: str = ""
    ) -> None:
        call.said = call.said or bool(arguments)
        fragment = ToolCallFragment(
            call_index=call.index, id=encodable(id_), function_name=encodable(name), arguments=arguments
        )
        self._say(deltas, Delta(fragments=(fragment,)))

    def _say(self, deltas: list[Delta], delta: Delta) -> None:
        self._started = True
        deltas.append(delta)

    def _count_input(self, usage: Usage | None, deltas: list[Delta]) -> None:
        """What the message begins with: its output count stands for nothing yet."""
        if usage is not None and usage.input_tokens is not None:
            self._usage = _report(usage, self._usage, output=None)
            deltas.append(Delta(count=0, usage=self._usage))

    def _take_usage(self, usage: Usage | None, deltas: list[Delta]) -> None:
        if usage is None or usage.output_tokens is None:
            return
        self._usage = _report(usage, self._usage, output=usage.output_tokens)
        if self._finish is None:
            deltas.append(Delta(count=0, usage=self._usage))

    def _take_finish(self, word: str | None, stop: str | None) -> None:
        if word and self._finish is None:
            try:
                self._finish = read_finish(self._engine, word, stop)
            except EngineAborted as error:
                self._fail(error)

    def _whole(self, event: Event, deltas: list[Delta]) -> None:
        """An answer that is not streamed."""
        for index, block in enumerate(event.content or ()):
            self._begin(index, block, deltas)
            self._stop(index, deltas)
        self._take_usage(event.usage, deltas)
        self._take_finish(event.stop_reason, event.stop_sequence)

    def _last(self, finish: EngineFinish) -> Delta:
        return Delta(count=0, usage=self._usage, finish=finish)


def _report(usage: Usage, before: UsageReport, output: int | None) -> UsageReport:
    """The counts with what was told before where this tells nothing; the input with all its parts."""
    cached = _known(usage.cache_read_input_tokens, before.cached_input)
    written = _known(usage.cache_creation_input_tokens, before.cache_write_input)
    fresh = usage.input_tokens
    if fresh is None and before.input is not None:
        fresh = before.input - (before.cached_input or 0) - (before.cache_write_input or 0)
    details = usage.output_tokens_details
    return UsageReport(
        input=None if fresh is None else fresh + (cached or 0) + (written or 0),
        output=output,
        cached_input=cached,
        cache_write_input=written,
        reasoning=_known(details.thinking_tokens if details else None, before.reasoning),
    )


def _known(count: int | None, before: int | None) -> int | None:
    return before if count is None else count
