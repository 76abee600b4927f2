"""A request as the JSON body that OpenAI-compatible servers take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.features import REQUESTED_FEATURES
from tokengrpc.core.model import Capability
from tokengrpc.engines.openai.dialects import BUDGET, Api
from tokengrpc.engines.openai.messages import chat_messages
from tokengrpc.engines.upstream.request_body import (
    raw_json,
    sampling_fields,
    tool_fields,
    unsupported,
    whole_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.request import GenerationRequest, OutputConstraint, ToolChoice
    from tokengrpc.engines.openai.dialects import ApiRow, Dialect

# The API itself, not a field of it.
_INPUTS = frozenset({Capability.PROMPT, Capability.CONVERSATION, Capability.PROMPT_TOKEN_IDS})


def choose_api(setting: str, request: GenerationRequest, dialect: Dialect) -> Api:
    """The API for a request. Raises UnsupportedFeature when the setting allows none."""
    if request.messages is not None and setting == "completions":
        raise unsupported("a conversation", "the engine's completions API; set `api` to auto or chat")
    if request.prompt_token_ids is not None and setting == "chat":
        raise unsupported("prompt_token_ids", "the engine's chat API; set `api` to auto or completions")
    if setting != "auto":
        return Api.CHAT if setting == "chat" else Api.COMPLETIONS
    if request.prompt is not None:
        return dialect.prompts_to
    return Api.CHAT if request.messages is not None else Api.COMPLETIONS


def encode_request(
    request: GenerationRequest,
    *,
    api: Api,
    dialect: Dialect,
    model: str,
    extra: frozenset[Capability] = frozenset(),
    fields: Mapping[str, Any] | None = None,
) -> bytes:
    """The body. `model` is the engine's name for it; `extra` is what it can do beyond the dialect's row.

    `fields` are put on top. Raises UnsupportedFeature for what API or dialect has no field for,
    InvalidRequest for a JSON schema that is no JSON.
    """
    row = dialect.row(api)
    for capability, what, asked in REQUESTED_FEATURES:
        if asked(request) and capability not in row.capabilities | extra | _INPUTS:
            raise unsupported(what, f"this engine's {api.name.lower()} API")
    body: dict[str, Any] = {"model": model, "stream": True, **dialect.always}
    if request.output.token_ids:
        body |= row.token_ids
    if request.max_output_token_count is not None:
        body[row.max_tokens] = request.max_output_token_count
    body |= sampling_fields(request.sampling, row.sampling)
    body |= _chat_fields(request, dialect) if api is Api.CHAT else _completions_fields(request, row)
    body |= _reasoning_fields(request, dialect)
    if request.constraint is not None:
        body |= _constraint_fields(request.constraint, row)
    body |= fields or {}
    body |= {key: whole_numbers(value) for key, value in request.engine_params.items()}
    return msgspec.json.encode(body)


def _chat_fields(request: GenerationRequest, dialect: Dialect) -> dict[str, Any]:
    if not dialect.image_uris and request.has_image_uri:
        raise unsupported("an image by its address", "this engine; send its bytes")
    fields: dict[str, Any] = {"messages": chat_messages(request, dialect.reasoning_names)}
    top = request.output.top_logprob_count
    if top is not None or request.output.raw_bytes:
        if request.tools and not dialect.logprobs_with_tools:
            raise unsupported("output.top_logprob_count together with tools", "this engine")
        fields["logprobs"] = True  # the tokens' bytes come with them
        if top := max(top or 0, dialect.chat.least_top_logprobs):
            fields["top_logprobs"] = top
    if request.tools:
        fields |= _tool_fields(request, dialect)
    return fields


def _tool_fields(request: GenerationRequest, dialect: Dialect) -> dict[str, Any]:
    choice = request.tool_choice
    if choice.mode == "none" and "none" not in dialect.tool_modes:
        return {}  # what it does not know it cannot call
    if choice.mode != "auto" and choice.mode not in dialect.tool_modes:
        raise unsupported(f"tool_choice.mode {choice.mode}", "this engine, which calls tools as it likes")
    if choice.disable_parallel_calls and not dialect.parallel_switch:
        raise unsupported("tool_choice.disable_parallel_calls", "this engine, which has no field for it")
    tools = [
        {"type": "function", "function": tool_fields(tool, f"tools[{i}]", "parameters")}
        for i, tool in enumerate(request.tools)
    ]
    return {"tools": tools, **_tool_choice_fields(choice)}


def _tool_choice_fields(choice: ToolChoice) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if choice.mode == "function":
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.function_name}}
    elif choice.mode != "auto":  # the servers' default
        fields["tool_choice"] = choice.mode
    if choice.disable_parallel_calls:
        fields["parallel_tool_calls"] = False
    return fields


def _completions_fields(request: GenerationRequest, row: ApiRow) -> dict[str, Any]:
    ids = request.prompt_token_ids
    fields: dict[str, Any] = {"prompt": request.prompt if ids is None else list(ids)}
    if request.output.top_logprob_count is not None:
        fields["logprobs"] = max(request.output.top_logprob_count, row.least_top_logprobs)
    return fields


def _reasoning_fields(request: GenerationRequest, dialect: Dialect) -> dict[str, Any]:
    reasoning, fields = request.reasoning, {}
    if reasoning.effort is not None:
        fields["reasoning_effort"] = reasoning.effort
    if reasoning.token_budget is not None:
        if dialect.token_budget is None:
            raise unsupported("reasoning.token_budget", "this engine; set reasoning.effort")
        fields |= _filled(dialect.token_budget, reasoning.token_budget)
    return fields


def _filled(template: Mapping[str, Any], budget: int) -> dict[str, Any]:
    return {
        key: _filled(value, budget) if isinstance(value, dict) else budget if value is BUDGET else value
        for key, value in template.items()
    }


def _constraint_fields(constraint: OutputConstraint, row: ApiRow) -> dict[str, Any]:
    kind, value = _constraint(constraint)
    if kind not in row.constraints:
        raise unsupported(f"output_constraint.{kind}", "this engine, or for a prompt on it")
    return row.constraints[kind](value)


def _constraint(constraint: OutputConstraint) -> tuple[str, Any]:
    if constraint.json_schema is not None:
        return "json_schema", raw_json(constraint.json_schema, "output_constraint.json_schema")
    if constraint.choices is not None:
        return "choices", list(constraint.choices)
    if constraint.regex is not None:
        return "regex", constraint.regex
    return "grammar", constraint.grammar
