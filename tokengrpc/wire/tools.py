"""Conversion of what shapes the output of a request: tools, the choice among them, the constraint."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from tokenstreaming.v1 import input_pb2

from tokengrpc.core.json_text import is_json_object
from tokengrpc.core.request import OutputConstraint, Tool, ToolChoice

if TYPE_CHECKING:
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensRequest

    from tokengrpc.wire.checks import Checks

_MAX_TOOLS = 128
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_CHOICE_MODES: dict[int, str] = {
    input_pb2.TOOL_CHOICE_MODE_UNSPECIFIED: "auto",
    input_pb2.TOOL_CHOICE_MODE_AUTO: "auto",
    input_pb2.TOOL_CHOICE_MODE_NONE: "none",
    input_pb2.TOOL_CHOICE_MODE_REQUIRED: "required",
    input_pb2.TOOL_CHOICE_MODE_FUNCTION: "function",
}

_NO_CHOICE = ToolChoice()


def tools_of(message: StreamTokensRequest, checks: Checks) -> tuple[Tool, ...]:
    """Converts the tools. Empty if there are too many."""
    if not checks.that(len(message.tools) <= _MAX_TOOLS, "tools", f"must have at most {_MAX_TOOLS} entries"):
        return ()
    seen: set[str] = set()
    for i, tool in enumerate(message.tools):
        checks.that(
            _TOOL_NAME.fullmatch(tool.name),
            f"tools[{i}].name",
            "must be 1 to 64 characters of [A-Za-z0-9_-]",
        )
        checks.that(tool.name not in seen, f"tools[{i}].name", "must differ from the other tools' names")
        seen.add(tool.name)
        if tool.parameters_json_schema:
            _check_schema(f"tools[{i}].parameters_json_schema", tool.parameters_json_schema, checks)
    return tuple(
        Tool(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=tool.parameters_json_schema,
            strict=tool.strict,
        )
        for tool in message.tools
    )


def tool_choice_of(message: StreamTokensRequest, checks: Checks) -> ToolChoice:
    """Converts the choice among the tools."""
    if not message.HasField("tool_choice"):
        return _NO_CHOICE
    choice = message.tool_choice
    mode = checks.enum("tool_choice.mode", choice.mode, _CHOICE_MODES) or "auto"
    checks.that(message.tools, "tool_choice", "requires tools")
    if mode == "function":
        names = {tool.name for tool in itertools.islice(message.tools, _MAX_TOOLS)}
        checks.that(
            choice.function_name in names, "tool_choice.function_name", "must be the name of one of tools"
        )
    else:
        checks.that(
            not choice.function_name, "tool_choice.function_name", "is allowed with mode FUNCTION only"
        )
    return ToolChoice(
        mode=mode,
        function_name=choice.function_name,
        disable_parallel_calls=choice.disable_parallel_calls,
    )


def constraint_of(message: StreamTokensRequest, checks: Checks) -> OutputConstraint | None:
    """Converts the constraint of the output; None if there is none, or if it has no kind."""
    if not message.HasField("output_constraint"):
        return None
    constraint = message.output_constraint
    kind = constraint.WhichOneof("constraint")
    if not checks.that(kind, "output_constraint", "exactly one constraint must be set"):
        return None
    if kind == "json_schema":
        _check_schema("output_constraint.json_schema", constraint.json_schema, checks)
    if kind == "choices":
        choices = tuple(constraint.choices.texts)
        checks.that(choices, "output_constraint.choices.texts", "must contain at least one text")
        return OutputConstraint(choices=choices)
    text = getattr(constraint, kind)
    checks.that(text, f"output_constraint.{kind}", "must not be empty")
    return OutputConstraint(**{kind: text})


def _check_schema(path: str, text: str, checks: Checks) -> None:
    checks.that(is_json_object(text), path, "must be a JSON object")
