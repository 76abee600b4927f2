"""Assembly of streamed tool calls into the contract's fragments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokengrpc.core.model import ToolCallFragment
from tokengrpc.core.text import encodable
from tokengrpc.engines.openai.schema import ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.engines.openai.schema import Function


# Bound on the calls of one generation. No model makes that many, so more is treated as malformed output.
_MAX_CALLS = 1024
# Bound on the characters of arguments that arrive before their call's name. Servers send the name first.
_MAX_UNNAMED_LENGTH = 1024 * 1024


class _Call:
    """State of one tool call. Its fragments are withheld until its name is known."""

    __slots__ = ("emitted", "id", "index", "name", "withheld")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.withheld: list[str] = []  # pieces of arguments that came before the name
        self.emitted = False  # whether the first fragment has been emitted

    def add(self, arguments: str) -> ToolCallFragment | None:
        """Adds a piece of the arguments and returns the fragment to emit, if any."""
        if self.emitted:
            return ToolCallFragment(call_index=self.index, arguments=arguments) if arguments else None
        if arguments:
            self.withheld.append(arguments)
        return self.first_fragment() if self.name else None

    def first_fragment(self) -> ToolCallFragment:
        """Returns the fragment with id, name and all arguments received so far."""
        self.emitted = True
        arguments = "".join(self.withheld)
        self.withheld.clear()
        return ToolCallFragment(
            call_index=self.index, id=self.id, function_name=self.name, arguments=arguments
        )


class ToolCallAssembler:
    """Assembler of a generation's tool calls, numbered from 0 in the order in which they begin.

    It does not rely on the server's numbering. Some servers repeat `id` and `name` on every piece, omit
    `index` (Gemini), or give several calls the index 0 (older versions of Ollama).
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_unnamed_length")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._unnamed_length = 0

    def __bool__(self) -> bool:
        """Returns whether there has been a call."""
        return bool(self._calls)

    def feed(
        self, pieces: Sequence[ToolCall] | None, function_call: Function | None
    ) -> tuple[ToolCallFragment, ...]:
        """Returns the fragments for the pieces of one chunk.

        `function_call` is OpenAI's older form of a call. Raises ValueError if there are too many calls, or if
        the arguments of calls without a name are too long.
        """
        if function_call is not None:
            pieces = [*(pieces or ()), ToolCall(index=0, function=function_call)]
        fragments = (self._feed_piece(piece) for piece in pieces or ())
        return tuple(fragment for fragment in fragments if fragment is not None)

    def flush(self) -> tuple[ToolCallFragment, ...]:
        """Returns the calls that never received a name."""
        return tuple(call.first_fragment() for call in self._calls if not call.emitted)

    def _feed_piece(self, piece: ToolCall) -> ToolCallFragment | None:
        function = piece.function
        name = encodable((function.name if function else None) or "")
        id_ = encodable(piece.id or "")
        arguments = (function.arguments if function else None) or ""
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call = self._find_or_begin(piece.index, id_, name)
        if id_:
            call.id = call.id or id_
            self._by_id.setdefault(call.id, call)
        call.name = call.name or name
        if not call.name:
            self._unnamed_length += len(arguments)
            if self._unnamed_length > _MAX_UNNAMED_LENGTH:
                raise ValueError(
                    f"more than {_MAX_UNNAMED_LENGTH} characters in arguments of tool calls without a name"
                )
        return call.add(arguments)

    def _find_or_begin(self, index: int | None, id_: str, name: str) -> _Call:
        if index is not None:
            call = self._by_index.get(index)
            reused = call is not None and bool(name and id_ and call.id and id_ != call.id)
            if call is None or reused:
                call = self._by_index[index] = self._begin()
            return call
        if id_ in self._by_id:
            return self._by_id[id_]
        if not self._calls or id_ or (name and self._calls[-1].name):
            return self._begin()
        return self._calls[-1]

    def _begin(self) -> _Call:
        if len(self._calls) >= _MAX_CALLS:
            raise ValueError(f"more than {_MAX_CALLS} tool calls")
        call = _Call(len(self._calls))
        self._calls.append(call)
        return call
