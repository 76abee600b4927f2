"""Assembly of streamed tool calls into the contract's fragments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokengrpc.core.text import encodable
from tokengrpc.engines.openai.calls.call import CallState
from tokengrpc.engines.openai.calls.names import ToolNames
from tokengrpc.engines.openai.calls.opaque import opaque_of
from tokengrpc.engines.openai.calls.shapes import function_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokengrpc.core.model import ToolCallFragment
    from tokengrpc.engines.openai.schema import Function, ToolCall


# Bound on the calls of one generation. No model makes that many, so more is treated as malformed output.
_MAX_CALLS = 1024


class ToolCallAssembler:
    """Assembler of a generation's tool calls, numbered from 0 in the order in which they begin.

    It does not rely on the server's numbering. Some servers repeat `id` and `name` on every piece, omit
    `index` (Gemini), give several calls the index 0 (older versions of Ollama) or the same id, or send a name
    in pieces. `tools` are the names of the request's tools, which tell a piece of a name from a new call.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_fragments", "_names")

    def __init__(self, tools: Iterable[str] = ()) -> None:
        self._calls: list[CallState] = []
        self._by_index: dict[int, CallState] = {}
        self._by_id: dict[str, CallState] = {}
        self._names = ToolNames(tools)
        self._fragments: list[ToolCallFragment] = []  # of the chunk that is being fed

    def __bool__(self) -> bool:
        """Returns whether there has been a call."""
        return bool(self._calls)

    def feed(
        self, pieces: Sequence[ToolCall] | None, function_call: Function | None
    ) -> tuple[ToolCallFragment, ...]:
        """Returns the fragments for the pieces of one chunk.

        `function_call` is OpenAI's older form of a call. A chunk that has both forms has the same call in
        each. Raises ValueError if there are too many calls, or if a call's arguments are too long before its
        name.
        """
        if pieces:
            for piece in pieces:
                function = piece.function
                if function is None or function.arguments is None:
                    function = function_of(piece)
                self._feed_piece(piece.index, piece.id, function, opaque_of(piece))
        elif function_call is not None:
            self._feed_piece(0, None, function_call)
        return self._taken()

    def feed_whole(
        self, calls: Sequence[ToolCall] | None, function_call: Function | None
    ) -> tuple[ToolCallFragment, ...]:
        """Returns the fragments for the calls of a whole message, without those that were streamed before."""
        streamed = len(self._calls)
        if streamed and not calls:
            return ()
        for position, call in enumerate(calls or ()):
            function = function_of(call)
            name = function.name if function else None
            if call.id in self._by_id or (position < streamed and self._calls[position].name == name):
                continue
            index = None if streamed else call.index
            self._feed_piece(index, call.id, function, opaque_of(call))
        if not calls and function_call is not None:
            self._feed_piece(0, None, function_call)
        return self._taken()

    def flush(self) -> tuple[ToolCallFragment, ...]:
        """Returns what has been withheld, including the calls that never received a name."""
        for call in self._calls:
            self._fragments += call.release()
        return self._taken()

    def _taken(self) -> tuple[ToolCallFragment, ...]:
        fragments = tuple(self._fragments)
        self._fragments.clear()
        return fragments

    def _feed_piece(
        self, index: int | None, id_: str | None, function: Function | None, opaque: bytes = b""
    ) -> None:
        name = function.name or "" if function else ""
        id_ = encodable(id_) if id_ else ""
        name = encodable(name) if name else ""
        arguments = function.arguments if function else None
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        arguments = arguments or ""
        call = self._find(index, id_, name)
        if call is None:
            call = self._begin(index)
        elif not self._continues(call, id_, name, arguments):
            name = name or call.name
            call = self._begin(index)
        call.id = call.id or id_
        if id_:
            self._by_id[id_] = call
        if name:
            call.repeated_name = name == call.name and call.arguments.whole
            call.name = self._names.join(call.name, name) if call.name else name
        call.opaque = opaque or call.opaque
        fragment = call.add(arguments, named=self._names.is_complete(call.name))
        if fragment is not None:
            self._fragments.append(fragment)

    def _find(self, index: int | None, id_: str, name: str) -> CallState | None:
        """Returns the call at the piece's index, of its id, or the last one; None if a new one begins."""
        of_id = self._by_id.get(id_) if id_ else None
        if index is None:
            if of_id is not None or not self._calls:
                return of_id
            last = self._calls[-1]
            begins = id_ and (name or not last.name or last.arguments.whole)
            return None if begins else last
        at_index = self._by_index.get(index)
        if at_index is None or (of_id is not None and id_ != at_index.id and not name):
            # A server may number the pieces instead of the calls.
            return of_id if of_id is not None and not (name and of_id.arguments.whole) else at_index
        return at_index

    def _continues(self, call: CallState, id_: str, name: str, arguments: str) -> bool:
        """Returns whether a piece belongs to `call`, or else begins another call."""
        if not name:
            return not (call.repeated_name and call.arguments.whole and arguments.strip())
        if not call.name:
            return not (id_ and call.id and id_ != call.id)
        if id_ and call.id and id_ != call.id:
            # Some servers make a new id for each piece.
            return name == call.name and not call.arguments.empty and not call.arguments.whole
        if name == call.name:
            return bool(id_) or not (call.arguments.whole and arguments.strip())
        return call.arguments.empty and not call.emitted and self._names.continues(call.name, name)

    def _begin(self, index: int | None) -> CallState:
        if len(self._calls) >= _MAX_CALLS:
            raise ValueError(f"more than {_MAX_CALLS} tool calls")
        for before in self._calls:
            if before.name:
                self._fragments += before.release()
        call = CallState(len(self._calls))
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call
