"""The shapes in which servers send the pieces of a tool call, read as OpenAI's own.

Some servers put name and arguments beside the `id` instead of into `function`, or call the arguments
`parameters` or `input`. OpenAI's custom tools have a free text as `input`. In the content of a message, a
call is a part of its own: `tool_use` (Anthropic), `tool_call`, `tool-call` (AI SDK), `function_call`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokengrpc.engines.openai.schema import Function, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_IDS = ("id", "call_id", "tool_call_id", "toolCallId", "tool_use_id")
_NAMES = ("name", "tool_name", "toolName", "function_name")
_ARGUMENTS = ("arguments", "input", "parameters", "args")
_NESTED = ("function", "custom", "tool_call", "functionCall", "function_call")

# Marks in the type of a part that holds a call; what the server itself called or what came of it is none.
_CALL_MARKS = ("tool", "function")
_NO_CALL_MARKS = ("result", "output", "response", "server_", "mcp_", "search", "list_tools", "reference")


def function_of(call: ToolCall) -> Function | None:
    """Returns the function of a piece, wherever the server put it, or None if there is none."""
    function = call.function
    if function is not None and function.arguments is not None:
        return function
    if function is None:
        custom = call.custom if isinstance(call.custom, dict) else {}
        name = _first_text((call.name, custom.get("name")))
        arguments = _arguments((call.arguments, call.input, call.parameters, custom.get("input")))
        return None if name is None and arguments is None else Function(name=name, arguments=arguments)
    return Function(name=function.name, arguments=_arguments((function.parameters, function.input)))


def call_in_part(part: Mapping[str, Any]) -> ToolCall | None:
    """Returns the call that a part of the content is, or None if it is none."""
    kind = str(part.get("type") or "").lower()
    if not any(mark in kind for mark in _CALL_MARKS) or any(mark in kind for mark in _NO_CALL_MARKS):
        return None
    nested: Mapping[str, Any] = next((part[key] for key in _NESTED if isinstance(part.get(key), dict)), {})
    name = _first_text([*(nested.get(key) for key in _NAMES), *(part.get(key) for key in _NAMES)])
    if name is None:
        return None
    id_ = _first_text([*(part.get(key) for key in _IDS), *(nested.get(key) for key in _IDS)])
    arguments = _arguments([holder.get(key) for holder in (nested, part) for key in _ARGUMENTS])
    return ToolCall(id=id_, function=Function(name=name, arguments=arguments))


def _first_text(values: Iterable[object]) -> str | None:
    return next((value for value in values if isinstance(value, str) and value), None)


def _arguments(values: Iterable[object]) -> str | dict[str, Any] | None:
    value = next((value for value in values if value is not None), None)
    if value is None or isinstance(value, str | dict):
        return value
    return json.dumps(value, ensure_ascii=False)
