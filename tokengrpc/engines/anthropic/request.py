"""Encoder of a request into the JSON body of Anthropic's Messages API.

Sources: anthropic-sdk-python 0.121, types/message_create_params.py, output_config_param.py and
thinking_config_*_param.py; the docs, "Adaptive thinking" and "Extended thinking".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from tokengrpc.engines.anthropic.dialects import DialectName
from tokengrpc.engines.anthropic.messages import system_text, user_and_assistant_messages
from tokengrpc.engines.upstream.request_body import (
    raw_json,
    sampling_fields,
    tool_fields,
    unsupported,
    whole_numbers,
)
from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.request import GenerationRequest, ToolChoice

# The API's name for each supported field of `Sampling`. Newer models reject some of them.
SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop_sequences",
}

# The API's minimum for `budget_tokens`.
_MIN_BUDGET = 1024

_TOOL_CHOICE_TYPES = {"auto": "auto", "required": "any", "function": "tool", "none": "none"}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `options` of the engine's settings.

    `max_tokens` is sent if a request has no output token limit, because the API requires one. `thinking` is
    the form of thinking that the model supports: `adaptive` takes an effort (Claude 4.6 and newer), `budget`
    takes a number of tokens (older models). `dialect` is the kind of server, a row of `dialects.py`.
    `version` and `beta` are the headers `anthropic-version` and `anthropic-beta`.
    """

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4096
    thinking: Literal["adaptive", "budget"] = "adaptive"
    dialect: DialectName = "anthropic"
    version: str = "2023-06-01"
    beta: str = ""


def encode_request(
    request: GenerationRequest,
    *,
    model: str,
    options: Options,
    added_fields: Mapping[str, Any] | None = None,
) -> bytes:
    """Returns the JSON body of a request. `model` is the API's name of the model.

    `added_fields` are those of the settings.

    Raises UnsupportedFeature if the API has no field for a requested feature, InvalidRequest if a JSON
    schema, the arguments of a tool call or the reasoning budget is invalid.
    """
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "max_tokens": request.max_output_token_count or options.max_tokens,
        "messages": user_and_assistant_messages(request),
    }
    system = system_text(request)
    if system:
        body["system"] = system
    body |= sampling_fields(request.sampling, SAMPLING)
    if request.tools:
        body["tools"] = [
            tool_fields(tool, f"tools[{i}]", "input_schema") for i, tool in enumerate(request.tools)
        ]
        body |= _tool_choice(request.tool_choice)
    body |= _thinking(request, options, body["max_tokens"])
    if request.constraint is not None:
        schema = request.constraint.json_schema
        if schema is None:
            raise unsupported("an output_constraint other than json_schema", "this engine; use json_schema")
        output_format = {"type": "json_schema", "schema": raw_json(schema, "output_constraint.json_schema")}
        body["output_config"] = {**body.get("output_config", {}), "format": output_format}
    body |= added_fields or {}
    body |= {key: whole_numbers(value) for key, value in request.engine_params.items()}
    return msgspec.json.encode(body)


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": _TOOL_CHOICE_TYPES[choice.mode]}
    if choice.mode == "function":
        fields["name"] = choice.function_name
    if choice.disable_parallel_calls and choice.mode != "none":
        fields["disable_parallel_tool_use"] = True
    # `auto` is the API's default.
    return {} if fields == {"type": "auto"} else {"tool_choice": fields}


def _thinking(request: GenerationRequest, options: Options, max_tokens: int) -> dict[str, Any]:
    effort, budget = request.reasoning.effort, request.reasoning.token_budget
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if budget is not None:
        return {
            "thinking": {"type": "enabled", "budget_tokens": _checked_budget(budget, options, max_tokens)}
        }
    if effort is None:
        return {}
    if options.thinking != "adaptive":
        raise unsupported("reasoning.effort", "this engine's model; set reasoning.token_budget instead")
    # Newer models omit the text of their thinking unless `display` requests it.
    display = "omitted" if request.output.omit_reasoning else "summarized"
    return {"thinking": {"type": "adaptive", "display": display}, "output_config": {"effort": effort}}


def _checked_budget(budget: int, options: Options, max_tokens: int) -> int:
    if options.thinking != "budget":
        raise unsupported("reasoning.token_budget", "this engine's model; set reasoning.effort instead")
    if not _MIN_BUDGET <= budget < max_tokens:
        raise InvalidRequest(
            [
                (
                    "reasoning.token_budget",
                    f"must be at least {_MIN_BUDGET} and less than the output token limit of {max_tokens}",
                )
            ]
        )
    return budget
