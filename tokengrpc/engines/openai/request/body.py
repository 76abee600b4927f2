"""Encoder of a request into the JSON body of an OpenAI-compatible server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.features import REQUESTED_FEATURES
from tokengrpc.core.model import Capability
from tokengrpc.engines.openai.dialects.capabilities import encodable
from tokengrpc.engines.openai.dialects.common import RETURN_TOKEN_IDS
from tokengrpc.engines.openai.dialects.row import BUDGET, Api
from tokengrpc.engines.openai.request.messages import chat_messages
from tokengrpc.engines.openai.request.optional_fields import omit_fields
from tokengrpc.engines.upstream.request_body import (
    json_ids,
    raw_json,
    sampling_fields,
    tool_fields,
    unsupported,
    whole_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tokengrpc.core.request import GenerationRequest, OutputConstraint, ToolChoice
    from tokengrpc.engines.openai.dialects.row import ApiRow, Dialect

# The form of the input selects the API (`choose_api`), so these are not checked against a row.
_INPUTS = frozenset({Capability.PROMPT, Capability.CONVERSATION, Capability.PROMPT_TOKEN_IDS})


def choose_api(setting: str, request: GenerationRequest, dialect: Dialect) -> Api:
    """Returns the API for a request. Raises UnsupportedFeature if the setting `api` rules out its input."""
    if request.messages is not None and setting == "completions":
        raise unsupported("a conversation", "the engine's completions API; set `api` to auto or chat")
    if request.prompt_token_ids is not None and setting == "chat":
        raise unsupported("prompt_token_ids", "the engine's chat API; set `api` to auto or completions")
    if setting != "auto":
        return Api.CHAT if setting == "chat" else Api.COMPLETIONS
    if request.prompt is not None:
        return dialect.prompt_api
    return Api.CHAT if request.messages is not None else Api.COMPLETIONS


def encode_request(
    request: GenerationRequest,
    *,
    api: Api,
    dialect: Dialect,
    model: str,
    extra_capabilities: frozenset[Capability] = frozenset(),
    extra_fields: Mapping[str, Any] | None = None,
    omitted: Collection[str] = (),
    added_fields: Mapping[str, Any] | None = None,
) -> bytes:
    """Returns the JSON body of a request.

    `model` is the server's name of the model. `extra_capabilities` are supported in addition to those of the
    dialect's row. `extra_fields` replace fields of the same name. `omitted` are the optional fields that the
    server does not take. `added_fields` are those of the settings.

    Raises UnsupportedFeature if the API or the dialect has no field for a requested feature, InvalidRequest
    if a JSON schema is not valid JSON.
    """
    row = dialect.row(api)
    supported = row.capabilities | (extra_capabilities & encodable(dialect, api)) | _INPUTS
    for capability, feature, is_requested in REQUESTED_FEATURES:
        if is_requested(request) and capability not in supported:
            raise unsupported(feature, f"this engine's {api.name.lower()} API")
    body: dict[str, Any] = {"model": model, "stream": True, **dialect.base_fields}
    if request.output.token_ids:
        body |= row.token_id_fields or RETURN_TOKEN_IDS
    if request.max_output_token_count is not None:
        body[row.max_tokens] = request.max_output_token_count
    body |= sampling_fields(request.sampling, row.sampling)
    body |= _chat_fields(request, dialect) if api is Api.CHAT else _completions_fields(request, row)
    body |= _reasoning_fields(request, dialect)
    if request.constraint is not None:
        body |= _constraint_fields(request.constraint, row)
    body |= extra_fields or {}
    omit_fields(body, omitted)
    body |= added_fields or {}
    body |= {key: whole_numbers(value) for key, value in request.engine_params.items()}
    return msgspec.json.encode(body)


def _chat_fields(request: GenerationRequest, dialect: Dialect) -> dict[str, Any]:
    if not dialect.fetches_images and request.has_image_uri:
        raise unsupported("an image URI", "this engine; send the image as bytes or as a data URI")
    fields: dict[str, Any] = {
        "messages": chat_messages(request, dialect.reasoning_fields, call_extras=dialect.call_extras)
    }
    top = request.output.top_logprob_count
    if top is not None or request.output.raw_bytes:
        if request.tools and not dialect.logprobs_with_tools:
            raise unsupported(
                "output.top_logprob_count or output.include_raw_bytes together with tools",
                "this engine; leave one of them unset",
            )
        fields["logprobs"] = True  # each logprob entry has the token's bytes, too
        if top := max(top or 0, dialect.chat.min_top_logprobs):
            fields["top_logprobs"] = top
    if request.tools:
        fields |= _tool_fields(request, dialect)
    return fields


def _tool_fields(request: GenerationRequest, dialect: Dialect) -> dict[str, Any]:
    choice = request.tool_choice
    if choice.mode == "none" and "none" not in dialect.tool_modes:
        return {}  # a model that does not see the tools cannot call them
    if choice.mode != "auto" and choice.mode not in dialect.tool_modes:
        raise unsupported(
            f"tool_choice.mode {choice.mode}", "this engine, which has no field for it; use auto or none"
        )
    if choice.disable_parallel_calls and not dialect.can_disable_parallel_calls:
        raise unsupported(
            "tool_choice.disable_parallel_calls", "this engine, which has no field for it; leave it unset"
        )
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
    fields: dict[str, Any] = {"prompt": request.prompt if ids is None else json_ids(ids)}
    if request.output.top_logprob_count is not None:
        fields["logprobs"] = max(request.output.top_logprob_count, row.min_top_logprobs)
    return fields


def _reasoning_fields(request: GenerationRequest, dialect: Dialect) -> dict[str, Any]:
    reasoning, fields = request.reasoning, {}
    if reasoning.effort is not None:
        fields["reasoning_effort"] = reasoning.effort
    if reasoning.token_budget is not None:
        if dialect.budget_fields is None:
            raise unsupported("reasoning.token_budget", "this engine; set reasoning.effort instead")
        fields |= _fill_budget(dialect.budget_fields, reasoning.token_budget)
    return fields


def _fill_budget(template: Mapping[str, Any], budget: int) -> dict[str, Any]:
    return {
        key: _fill_budget(value, budget) if isinstance(value, dict) else budget if value is BUDGET else value
        for key, value in template.items()
    }


def _constraint_fields(constraint: OutputConstraint, row: ApiRow) -> dict[str, Any]:
    form, value = _form_and_value(constraint)
    if form not in row.constraints:
        raise unsupported(
            f"output_constraint.{form}",
            "this engine's API, which has no field for it; use another constraint",
        )
    return row.constraints[form](value)


def _form_and_value(constraint: OutputConstraint) -> tuple[str, Any]:
    if constraint.json_schema is not None:
        return "json_schema", raw_json(constraint.json_schema, "output_constraint.json_schema")
    if constraint.choices is not None:
        return "choices", list(constraint.choices)
    if constraint.regex is not None:
        return "regex", constraint.regex
    return "grammar", constraint.grammar
