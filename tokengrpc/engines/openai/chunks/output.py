"""The output of the choices of one answer: text, reasoning, refusal, and fragments of tool calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.engines.openai.calls.assembler import ToolCallAssembler
from tokengrpc.engines.openai.chunks.content import OtherOutput, read_content
from tokengrpc.engines.openai.schema import MessageDelta
from tokengrpc.engines.upstream.response.restated import Streamed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokengrpc.core.model import ToolCallFragment
    from tokengrpc.engines.openai.schema import Choice

_EMPTY = MessageDelta()


# Text, reasoning, refusal, fragments of calls, and whether there are pieces of calls, which may be withheld.
Output = tuple[str, str, str, "tuple[ToolCallFragment, ...]", bool]


class OutputReader:
    """Reads the choices of one answer. `tools` are the names of the request's tools."""

    def __init__(self, engine: str, tools: Iterable[str]) -> None:
        self._engine = engine
        self.calls = ToolCallAssembler(tools)
        self.text = Streamed()
        self._reasoning, self._refusal = Streamed(), Streamed()
        self._other = OtherOutput()
        self.unrelayed = self._other.kinds
        """The kinds of output that came and cannot be relayed."""

    def read(self, choice: Choice) -> Output:
        """Returns what a choice adds to the answer.

        A `message` is the whole answer: of it, only what has not been streamed before is returned.
        """
        body = choice.delta or _EMPTY
        other = self._other
        text, reasoning, refusal = read_content(body, other)
        text = choice.text or text
        calls = body.tool_calls
        if other.calls:
            calls, other.calls = calls or other.calls, []
        has_calls = bool(calls or body.function_call)
        fragments = self.calls.feed(calls, body.function_call) if has_calls else ()
        if text:
            self.text.add(text)
        if reasoning:
            self._reasoning.add(reasoning)
        if refusal:
            self._refusal.add(refusal)
        message = choice.message
        if message is not None:
            whole_text, whole_reasoning, whole_refusal = read_content(message, other)
            text += self.text.rest_of(whole_text, self._engine)
            reasoning += self._reasoning.rest_of(whole_reasoning, self._engine)
            refusal += self._refusal.rest_of(whole_refusal, self._engine)
            calls, other.calls = message.tool_calls or other.calls, []
            rest = self.calls.feed_whole(calls, message.function_call)
            fragments += rest
            has_calls = has_calls or bool(rest)
        return text, reasoning, refusal, fragments, has_calls
