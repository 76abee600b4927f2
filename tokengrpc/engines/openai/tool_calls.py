"""Tool calls as servers stream them, made into the contract's fragments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokengrpc.core.model import ToolCallFragment
from tokengrpc.core.text import encodable
from tokengrpc.engines.openai.schema import ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.engines.openai.schema import Function


# The most calls of one answer; more is no model's honest output.
_CALLS = 1024
# The most characters of arguments that wait for their call's name: servers tell it first.
_HELD = 1024 * 1024


class _Call:
    """One call: what its server named it by, and what is not told yet."""

    __slots__ = ("held", "id", "index", "name", "told")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.held: list[str] = []
        self.told = False

    def fragment(self, arguments: str) -> ToolCallFragment | None:
        """The next fragment to tell, or None: nothing is told before the name is known."""
        if self.told:
            return ToolCallFragment(call_index=self.index, arguments=arguments) if arguments else None
        if arguments:
            self.held.append(arguments)
        return self.first() if self.name else None

    def first(self) -> ToolCallFragment:
        """Everything so far."""
        self.told = True
        arguments = "".join(self.held)
        self.held.clear()
        return ToolCallFragment(
            call_index=self.index, id=self.id, function_name=self.name, arguments=arguments
        )


class ToolCallAssembler:
    """Numbers a generation's calls from 0 in the order in which they begin, whatever the server does.

    Servers repeat `id` and `name` on every piece, leave out `index` (Gemini), or give each of several calls
    the index 0 (Ollama had that).
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_held")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._held = 0

    def __bool__(self) -> bool:
        """Whether there was a call."""
        return bool(self._calls)

    def feed(
        self, pieces: Sequence[ToolCall] | None, function_call: Function | None
    ) -> tuple[ToolCallFragment, ...]:
        """The fragments that a chunk's pieces give. `function_call` is OpenAI's form before tools.

        Raises ValueError when there are too many calls, or too long arguments of calls without a name.
        """
        if function_call is not None:
            pieces = [*(pieces or ()), ToolCall(index=0, function=function_call)]
        fragments = (self._feed_piece(piece) for piece in pieces or ())
        return tuple(fragment for fragment in fragments if fragment is not None)

    def flush(self) -> tuple[ToolCallFragment, ...]:
        """The calls that never got a name."""
        return tuple(call.first() for call in self._calls if not call.told)

    def _feed_piece(self, piece: ToolCall) -> ToolCallFragment | None:
        function = piece.function
        name = encodable((function.name if function else None) or "")
        id_ = encodable(piece.id or "")
        arguments = (function.arguments if function else None) or ""
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call = self._find(piece.index, id_, name)
        if id_:
            call.id = call.id or id_
            self._by_id.setdefault(call.id, call)
        call.name = call.name or name
        if not call.name:
            self._held += len(arguments)
            if self._held > _HELD:
                raise ValueError(f"more than {_HELD} characters of arguments of tool calls without a name")
        return call.fragment(arguments)

    def _find(self, index: int | None, id_: str, name: str) -> _Call:
        if index is not None:
            call = self._by_index.get(index)
            other = call is not None and bool(name and id_ and call.id and id_ != call.id)
            if call is None or other:
                call = self._by_index[index] = self._begin()
            return call
        if id_ in self._by_id:
            return self._by_id[id_]
        if not self._calls or id_ or (name and self._calls[-1].name):
            return self._begin()
        return self._calls[-1]

    def _begin(self) -> _Call:
        if len(self._calls) >= _CALLS:
            raise ValueError(f"more than {_CALLS} tool calls")
        call = _Call(len(self._calls))
        self._calls.append(call)
        return call
