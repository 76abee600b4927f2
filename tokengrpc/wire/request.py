"""Conversion of StreamTokensRequest to GenerationRequest. Checks every bound of the contract, once.

All violations are reported together, each with the path of its field.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from tokenstreaming.v1 import input_pb2

from tokengrpc.core.features import OWNED_ENGINE_PARAMS
from tokengrpc.core.request import (
    GenerationRequest,
    Limits,
    OutputConstraint,
    OutputOptions,
    Reasoning,
    Recovery,
    Sampling,
    Tool,
    ToolChoice,
)
from tokengrpc.errors import InvalidRequest
from tokengrpc.wire.checks import Checks
from tokengrpc.wire.conversation import messages_of

if TYPE_CHECKING:
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensRequest

GENERATION_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
ID_RULE = "must be 1 to 128 characters of [A-Za-z0-9._~-]"
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_SAMPLING_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 2),
    ("top_p", 1e-12, 1),
    ("top_k", 1, 2**31 - 1),
    ("min_p", 0, 1),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
    ("repetition_penalty", 1e-12, 1e6),
)

_EFFORTS: dict[int, str | None] = {
    input_pb2.REASONING_EFFORT_UNSPECIFIED: None,
    input_pb2.REASONING_EFFORT_NONE: "none",
    input_pb2.REASONING_EFFORT_LOW: "low",
    input_pb2.REASONING_EFFORT_MEDIUM: "medium",
    input_pb2.REASONING_EFFORT_HIGH: "high",
}

_CHOICE_MODES: dict[int, str] = {
    input_pb2.TOOL_CHOICE_MODE_UNSPECIFIED: "auto",
    input_pb2.TOOL_CHOICE_MODE_AUTO: "auto",
    input_pb2.TOOL_CHOICE_MODE_NONE: "none",
    input_pb2.TOOL_CHOICE_MODE_REQUIRED: "required",
    input_pb2.TOOL_CHOICE_MODE_FUNCTION: "function",
}

_DEADLINE_ACTIONS: dict[int, str | None] = {
    input_pb2.DEADLINE_ACTION_UNSPECIFIED: None,
    input_pb2.DEADLINE_ACTION_FAIL: "fail",
    input_pb2.DEADLINE_ACTION_FINISH_PARTIAL: "partial",
}

_DETACH: dict[int, bool] = {
    input_pb2.DISCONNECT_ACTION_UNSPECIFIED: False,
    input_pb2.DISCONNECT_ACTION_CANCEL: False,
    input_pb2.DISCONNECT_ACTION_DETACH: True,
}


def generation_request(message: StreamTokensRequest) -> GenerationRequest:
    """Converts a message. Raises InvalidRequest with all violations."""
    checks = Checks()
    if message.generation_id:
        checks.that(
            GENERATION_ID.fullmatch(message.generation_id),
            "generation_id",
            ID_RULE,
        )
    checks.that(len(message.session_id) <= 128, "session_id", "must have at most 128 characters")
    if message.HasField("max_output_token_count"):
        checks.bounds("max_output_token_count", message.max_output_token_count, 1, 2**31 - 1)
    kind = message.WhichOneof("input")
    checks.that(kind, "input", "one of prompt, conversation, prompt_token_ids must be set")
    request = GenerationRequest(
        generation_id=message.generation_id,
        model=message.model,
        prompt=message.prompt if kind == "prompt" else None,
        messages=messages_of(message.conversation, checks) if kind == "conversation" else None,
        prompt_token_ids=tuple(message.prompt_token_ids.ids) if kind == "prompt_token_ids" else None,
        max_output_token_count=(
            message.max_output_token_count if message.HasField("max_output_token_count") else None
        ),
        sampling=_sampling(message.sampling, checks),
        reasoning=_reasoning(message.reasoning, checks),
        output=_output(message.output, checks),
        tools=_tools(message, checks),
        tool_choice=_tool_choice(message, checks),
        constraint=_constraint(message, checks),
        limits=_limits(message.limits, checks),
        recovery=_recovery(message.recovery, checks),
        engine_params=_engine_params(message, checks),
        labels=_labels(message, checks),
        session_id=message.session_id,
        fingerprint=hashlib.sha256(message.SerializeToString(deterministic=True)).digest(),
    )
    _check_input(request, checks)
    if checks.violations:
        raise InvalidRequest(checks.violations)
    return request


def _check_input(request: GenerationRequest, checks: Checks) -> None:
    if request.prompt is not None:
        checks.that(request.prompt, "prompt", "must not be empty")
    if request.prompt_token_ids is not None:
        checks.that(request.prompt_token_ids, "prompt_token_ids.ids", "must contain at least one id")
        checks.that(
            min(request.prompt_token_ids, default=0) >= 0, "prompt_token_ids.ids", "must not be negative"
        )


def _sampling(message: input_pb2.Sampling, checks: Checks) -> Sampling:
    values: dict[str, Any] = {}
    for name, least, most in _SAMPLING_BOUNDS:
        if message.HasField(name):
            values[name] = getattr(message, name)
            checks.bounds(f"sampling.{name}", values[name], least, most)
    checks.that(len(message.stop_sequences) <= 16, "sampling.stop_sequences", "must have at most 16 entries")
    for i, stop in enumerate(itertools.islice(message.stop_sequences, 16)):
        checks.that(1 <= len(stop) <= 256, f"sampling.stop_sequences[{i}]", "must have 1 to 256 characters")
    checks.that(len(message.logit_bias) <= 1024, "sampling.logit_bias", "must have at most 1024 entries")
    for token_id, bias in itertools.islice(message.logit_bias.items(), 1024):
        checks.bounds(f"sampling.logit_bias[{token_id}]", bias, -100, 100)
    return Sampling(
        **values,
        seed=message.seed if message.HasField("seed") else None,
        stop_sequences=tuple(message.stop_sequences),
        logit_bias=dict(message.logit_bias),
    )


def _reasoning(message: input_pb2.Reasoning, checks: Checks) -> Reasoning:
    budget = message.token_budget if message.HasField("token_budget") else None
    if budget is not None:
        checks.bounds("reasoning.token_budget", budget, 1, 2**31 - 1)
    effort = checks.enum("reasoning.effort", message.effort, _EFFORTS)
    return Reasoning(effort=effort, token_budget=budget)


def _output(message: input_pb2.OutputOptions, checks: Checks) -> OutputOptions:
    count = message.top_logprob_count if message.HasField("top_logprob_count") else None
    if count is not None:
        checks.bounds("output.top_logprob_count", count, 0, 20)
    return OutputOptions(
        top_logprob_count=count,
        token_ids=message.include_token_ids,
        raw_bytes=message.include_raw_bytes,
        omit_reasoning=message.omit_reasoning,
    )


def _tools(message: StreamTokensRequest, checks: Checks) -> tuple[Tool, ...]:
    if not checks.that(len(message.tools) <= 128, "tools", "must have at most 128 entries"):
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


def _tool_choice(message: StreamTokensRequest, checks: Checks) -> ToolChoice:
    choice = message.tool_choice
    mode = checks.enum("tool_choice.mode", choice.mode, _CHOICE_MODES) or "auto"
    if message.HasField("tool_choice"):
        checks.that(message.tools, "tool_choice", "requires tools")
    names = {tool.name for tool in message.tools}
    if mode == "function":
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


def _constraint(message: StreamTokensRequest, checks: Checks) -> OutputConstraint | None:
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
    try:
        valid = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        valid = False
    checks.that(valid, path, "must be a JSON object")


def _limits(message: input_pb2.Limits, checks: Checks) -> Limits:
    return Limits(
        time_limit=checks.duration("limits.time_limit", message),
        first_token_timeout=checks.duration("limits.first_token_timeout", message),
        inter_token_timeout=checks.duration("limits.inter_token_timeout", message),
        connect_timeout=checks.duration("limits.connect_timeout", message),
        deadline_action=checks.enum("limits.deadline_action", message.deadline_action, _DEADLINE_ACTIONS),
        deadline_margin=checks.duration("limits.deadline_margin", message),
    )


def _recovery(message: input_pb2.Recovery, checks: Checks) -> Recovery:
    detach = bool(checks.enum("recovery.disconnect_action", message.disconnect_action, _DETACH))
    checks.bounds("recovery.max_engine_switch_count", message.max_engine_switch_count, 0, 8)
    if message.HasField("detach_ttl"):
        checks.that(detach, "recovery.detach_ttl", "is allowed with DISCONNECT_ACTION_DETACH only")
    return Recovery(
        detach=detach,
        detach_ttl=checks.duration("recovery.detach_ttl", message),
        replay_ttl=checks.duration("recovery.replay_ttl", message),
        max_engine_switch_count=message.max_engine_switch_count,
    )


def _engine_params(message: StreamTokensRequest, checks: Checks) -> dict[str, Any]:
    try:
        params: dict[str, Any] = MessageToDict(message.engine_params)
    except (SerializeToJsonError, ValueError):
        checks.that(False, "engine_params", "must contain finite numbers only")
        return {}
    for key in sorted(params.keys() & OWNED_ENGINE_PARAMS):
        checks.that(False, f"engine_params.{key}", "must be set with a field of this contract")
    return params


def _labels(message: StreamTokensRequest, checks: Checks) -> dict[str, str]:
    checks.that(len(message.labels) <= 16, "labels", "must have at most 16 entries")
    for key, value in message.labels.items():
        checks.that(1 <= len(key) <= 63, f"labels[{key[:63]}]", "keys must have 1 to 63 characters")
        checks.that(len(value) <= 256, f"labels[{key[:63]}]", "values must have at most 256 characters")
    return dict(message.labels)
