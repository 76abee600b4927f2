"""Decoder of content blocks into deltas: text, thinking and tool calls. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokengrpc.core.model import Delta, ToolCallFragment
from tokengrpc.core.text import encodable
from tokengrpc.engines.anthropic.reasoning import opaque_redacted, opaque_signature
from tokengrpc.engines.upstream.response.restated import Streamed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.engines.anthropic.schema import Block, EventDelta

# Bound on the calls of one generation. No model makes that many, so more is treated as malformed output.
_MAX_CALLS = 1024

# Bound on the blocks of one generation whose types are remembered because nothing of them was relayed.
_MAX_SILENT = 64

# Marks in the type of a block or delta that holds reasoning, whatever field its text is in.
_REASONING_MARKS = ("think", "reason")

# Types of blocks that hold only what a delta can hold.
_RELAYED = frozenset({"", "text", "thinking", "redacted_thinking", "tool_use"})


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


class BlockDecoder:
    """Decoder of the blocks of one response. Its methods append deltas to the list that they are given."""

    def __init__(self) -> None:
        self.text = Streamed()
        self._open_calls: dict[int, _Call] = {}  # by the index of their block
        self._server_tools: set[int] = set()  # indexes of the blocks of tools that the API runs itself
        self._reasoning_blocks: set[int] = set()  # indexes of the blocks whose text is reasoning
        self._silent: dict[int, str] = {}  # types of the blocks that nothing was emitted of, by index
        self._call_count = 0

    @property
    def silent_types(self) -> list[str]:
        """The types of blocks that nothing was emitted of, such as images and results of server tools."""
        return sorted(set(self._silent.values()))

    def start(self, index: int, block: Block, deltas: list[Delta]) -> None:
        """Starts a block and emits its content. Only some proxies send content with the start.

        Raises ValueError if there are too many tool calls.
        """
        self._reasoning_blocks.discard(index)
        if block.type == "tool_use":
            if self._call_count >= _MAX_CALLS:
                raise ValueError(f"more than {_MAX_CALLS} tool calls")
            self.stop(index, deltas)
            arguments = json.dumps(block.input, ensure_ascii=False) if block.input else "{}"
            self._open_calls[index] = _Call(self._call_count, arguments)
            self._call_count += 1
            _emit_fragment(self._open_calls[index], deltas, block.id or "", block.name or "")
        elif block.type.endswith("_tool_use"):
            self._server_tools.add(index)
            self._note_silent(index, block.type)
        elif block.type == "redacted_thinking":
            deltas.append(Delta(count=0, opaque=opaque_redacted(block.data or "")))
        else:
            self._emit_texts(index, block, deltas)
            if not (block.text or block.thinking):
                if _is_reasoning(block.type):
                    self._reasoning_blocks.add(index)
                elif block.type not in _RELAYED:
                    self._note_silent(index, block.type)

    def feed(self, index: int, delta: EventDelta, deltas: list[Delta]) -> None:
        """Emits the next piece of a block."""
        if delta.partial_json:
            if index in self._server_tools:
                return
            call = self._open_calls.get(index)
            if call is None and self._open_calls:
                call = next(reversed(self._open_calls.values()))  # some servers number the events otherwise
            if call is not None:
                _emit_fragment(call, deltas, arguments=delta.partial_json)
        else:
            self._emit_texts(index, delta, deltas)

    def stop(self, index: int, deltas: list[Delta]) -> None:
        """Stops a block. Emits the arguments of a call that has had none in pieces."""
        self._reasoning_blocks.discard(index)
        call = self._open_calls.pop(index, None)
        if call is not None and not call.has_arguments:
            # The API sends nothing for a call without arguments, but the contract's arguments are JSON.
            _emit_fragment(call, deltas, arguments=call.input)

    def stop_all(self, deltas: list[Delta]) -> None:
        """Stops all blocks that are open."""
        for index in list(self._open_calls):
            self.stop(index, deltas)

    def whole(self, blocks: Sequence[Block], deltas: list[Delta]) -> None:
        """Emits complete blocks."""
        for index, block in enumerate(blocks):
            self.start(index, block, deltas)
            self.stop(index, deltas)

    def _note_silent(self, index: int, type_: str) -> None:
        if len(self._silent) < _MAX_SILENT:
            self._silent[index] = type_

    def _emit_texts(self, index: int, part: Block | EventDelta, deltas: list[Delta]) -> None:
        text, thinking = part.text or "", part.thinking or ""
        if thinking:
            # The block's reasoning has its own field, so text at this index is the answer.
            self._reasoning_blocks.discard(index)
        if text and (index in self._reasoning_blocks or _is_reasoning(part.type)):
            text, thinking = "", thinking or text
        if text or thinking:
            if text:  # as Streamed.add, without a call for each token
                self.text.length += len(text)
                self.text.last = text
            if self._silent:
                self._silent.pop(index, None)
            deltas.append(Delta(text=text, reasoning=thinking))
        if part.signature:
            deltas.append(Delta(count=0, opaque=opaque_signature(part.signature)))


def _is_reasoning(type_: str) -> bool:
    """Returns whether the type of a block or delta says that it holds reasoning."""
    return type_ != "text_delta" and any(mark in type_ for mark in _REASONING_MARKS)


def _emit_fragment(
    call: _Call, deltas: list[Delta], id_: str = "", name: str = "", arguments: str = ""
) -> None:
    call.has_arguments = call.has_arguments or bool(arguments)
    fragment = ToolCallFragment(
        call_index=call.index, id=encodable(id_), function_name=encodable(name), arguments=arguments
    )
    deltas.append(Delta(fragments=(fragment,)))
