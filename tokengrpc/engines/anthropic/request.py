"""A request as the JSON body of Anthropic's Messages API.

Read in anthropic-sdk-python 0.121, types/message_create_params.py, output_config_param.py and
thinking_config_*_param.py; and in the docs, "Adaptive thinking" and "Extended thinking".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from tokengrpc.engines.anthropic.messages import system_text, turns
from tokengrpc.engines.upstream.request_body import (
    raw_json,
    sampling_fields,
    tool_fields,
    unsupported,
    whole_numbers,
)
from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from tokengrpc.core.request import GenerationRequest, ToolChoice

# The fields of Sampling that the API knows; newer models refuse some of them.
SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop_sequences",
}

# The least that the API takes for `budget_tokens`.
_LEAST_BUDGET = 1024

_CHOICES = {"auto": "auto", "required": "any", "function": "tool", "none": "none"}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine's own settings.

    `max_tokens` is sent where a request has no maximum, since the API wants one. `thinking` is the form that
    the model takes: `adaptive` with an effort (Claude 4.6 and newer), `budget` with a number of tokens (those
    before). `version` and `beta` are the headers `anthropic-version` and `anthropic-beta`.
    """

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4096
    thinking: Literal["adaptive", "budget"] = "adaptive"
    version: str = "2023-06-01"
    beta: str = ""


def encode_request(request: GenerationRequest, *, model: str, options: Options) -> bytes:
    """The body. Raises UnsupportedFeature for what the API has no field for, InvalidRequest."""
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "max_tokens": request.max_output_token_count or options.max_tokens,
        "messages": turns(request),
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
            raise unsupported("output_constraint other than json_schema", "this engine")
        form = {"type": "json_schema", "schema": raw_json(schema, "output_constraint.json_schema")}
        body["output_config"] = {**body.get("output_config", {}), "format": form}
    body |= {key: whole_numbers(value) for key, value in request.engine_params.items()}
    return msgspec.json.encode(body)


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "function":
        fields["name"] = choice.function_name
    if choice.disable_parallel_calls and choice.mode != "none":
        fields["disable_parallel_tool_use"] = True
    # AUTO is the default.
    return {} if fields == {"type": "auto"} else {"tool_choice": fields}


def _thinking(request: GenerationRequest, options: Options, most: int) -> dict[str, Any]:
    effort, budget = request.reasoning.effort, request.reasoning.token_budget
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if budget is not None:
        return {"thinking": {"type": "enabled", "budget_tokens": _budget(budget, options, most)}}
    if effort is None:
        return {}
    if options.thinking != "adaptive":
        raise unsupported("reasoning.effort", "this engine's model; set reasoning.token_budget")
    # Newer models tell no thinking unless they are asked to.
    display = "omitted" if request.output.omit_reasoning else "summarized"
    return {"thinking": {"type": "adaptive", "display": display}, "output_config": {"effort": effort}}


def _budget(budget: int, options: Options, most: int) -> int:
    if options.thinking != "budget":
        raise unsupported("reasoning.token_budget", "this engine's model; set reasoning.effort")
    if not _LEAST_BUDGET <= budget < most:
        raise InvalidRequest(
            [
                (
                    "reasoning.token_budget",
                    f"must be at least {_LEAST_BUDGET} and less than the maximum of output tokens, {most}",
                )
            ]
        )
    return budget
