"""A request as the JSON body that OpenAI-compatible servers take."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.engines.openai_messages import chat_messages
from tokengrpc.errors import InvalidRequest, UnsupportedFeature

if TYPE_CHECKING:
    from tokengrpc.request import GenerationRequest, OutputConstraint, Reasoning, Tool, ToolChoice


class Api(StrEnum):
    """The two APIs, by their paths under the base URL."""

    CHAT = "/chat/completions"
    COMPLETIONS = "/completions"


_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')

# Whole numbers below this are what they seem as floats; greater ones stay floats.
_EXACT_FLOATS = 2.0**53

# vLLM's names since 0.12 (docs, features/structured_outputs); the older guided_* fields are gone.
_VLLM_CONSTRAINTS = {"json_schema": "json", "regex": "regex", "grammar": "grammar", "choices": "choice"}


def choose_api(setting: str, request: GenerationRequest, *, dialect: str = "generic") -> Api:
    """The API for a request. Raises UnsupportedFeature when the setting allows none."""
    if setting == "auto" and dialect == "openai" and request.prompt is not None:
        setting = "chat"  # OpenAI's own models of today have no other
    if request.messages is not None and setting == "completions":
        raise _unsupported("a conversation", "the engine's completions API; set `api` to auto or chat")
    if request.prompt_token_ids is not None and setting == "chat":
        raise _unsupported("prompt_token_ids", "the engine's chat API; set `api` to auto or completions")
    if setting == "chat" or (setting == "auto" and request.messages is not None):
        return Api.CHAT
    return Api.COMPLETIONS


def encode_request(request: GenerationRequest, *, api: Api, dialect: str, model: str) -> bytes:
    """The body. `dialect` is generic, openai or vllm; `model` the engine's name for the model.

    Raises UnsupportedFeature for what the API or dialect has no field for, InvalidRequest for a JSON schema
    that is no JSON.
    """
    vllm = dialect == "vllm"
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    if vllm:
        body["stream_options"]["continuous_usage_stats"] = True
        if request.output.token_ids:
            body["return_token_ids"] = True
    if request.max_output_token_count is not None:
        # OpenAI's newer models refuse max_tokens; other servers may not know its successor.
        renamed = api is Api.CHAT and dialect == "openai"
        body["max_completion_tokens" if renamed else "max_tokens"] = request.max_output_token_count
    body |= _sampling_fields(request)
    if api is Api.CHAT:
        body["messages"] = chat_messages(request, own_fields=dialect != "openai")
        body |= _chat_fields(request)
    else:
        body |= _completions_fields(request)
    body |= _reasoning_fields(request.reasoning, vllm=vllm)
    if request.constraint is not None:
        body |= _constraint_fields(request.constraint, api=api, vllm=vllm)
    body |= {key: whole_numbers(value) for key, value in request.engine_params.items()}
    return msgspec.json.encode(body)


def whole_numbers(value: Any) -> Any:  # noqa: ANN401 - JSON values have no narrower type
    """A value of a protobuf Struct with its numbers as they were meant: 5.0 is 5, as a Struct has no ints."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOATS:
        return int(value)
    if isinstance(value, list | tuple):
        return [whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    return value


def _sampling_fields(request: GenerationRequest) -> dict[str, Any]:
    sampling = request.sampling
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop_sequences) or None,
        "logit_bias": {str(key): bias for key, bias in sampling.logit_bias.items()} or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _chat_fields(request: GenerationRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    top = request.output.top_logprob_count
    if top is not None or request.output.raw_bytes:
        fields["logprobs"] = True  # the tokens' bytes come with them
        if top:
            fields["top_logprobs"] = top
    if request.tools:
        fields["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(request.tools)]
        fields |= _tool_choice_fields(request.tool_choice)
    return fields


def _tool(tool: Tool, path: str) -> dict[str, Any]:
    schema = tool.parameters_json_schema
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": _raw_json(schema, f"{path}.parameters_json_schema") if schema else _NO_PARAMETERS,
    }
    if tool.description:
        function["description"] = tool.description
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _tool_choice_fields(choice: ToolChoice) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if choice.mode == "function":
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.function_name}}
    elif choice.mode != "auto":  # the servers' default
        fields["tool_choice"] = choice.mode
    if choice.disable_parallel_calls:
        fields["parallel_tool_calls"] = False
    return fields


def _completions_fields(request: GenerationRequest) -> dict[str, Any]:
    for asked, what in (
        (request.tools, "tools"),
        (request.output.raw_bytes, "output.include_raw_bytes"),
        (request.reasoning.effort, "reasoning.effort"),
    ):
        if asked:
            raise _unsupported(what, "a prompt on this engine; send a conversation")
    ids = request.prompt_token_ids
    fields: dict[str, Any] = {"prompt": request.prompt if ids is None else list(ids)}
    if request.output.top_logprob_count is not None:
        fields["logprobs"] = request.output.top_logprob_count
    return fields


def _reasoning_fields(reasoning: Reasoning, *, vllm: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if reasoning.effort is not None:
        fields["reasoning_effort"] = reasoning.effort
    if reasoning.token_budget is not None:
        if not vllm:
            raise _unsupported("reasoning.token_budget", "this engine; set reasoning.effort")
        fields["thinking_token_budget"] = reasoning.token_budget
    return fields


def _constraint_fields(constraint: OutputConstraint, *, api: Api, vllm: bool) -> dict[str, Any]:
    kind, value = _constraint(constraint)
    if kind == "json_schema" and api is Api.CHAT:
        # A schema needs a name; `strict` asks for what a constraint means.
        named = {"name": "output", "strict": True, "schema": value}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if not vllm:
        raise _unsupported(f"output_constraint.{kind}", "this engine, or for a prompt on it")
    return {"structured_outputs": {_VLLM_CONSTRAINTS[kind]: value}}


def _constraint(constraint: OutputConstraint) -> tuple[str, Any]:
    if constraint.json_schema is not None:
        return "json_schema", _raw_json(constraint.json_schema, "output_constraint.json_schema")
    if constraint.choices is not None:
        return "choices", list(constraint.choices)
    if constraint.regex is not None:
        return "regex", constraint.regex
    return "grammar", constraint.grammar


def _raw_json(text: str, field: str) -> msgspec.Raw:
    """JSON text to be embedded as it stands, so that order and numbers survive."""
    data = text.encode("utf-8", "replace")
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest([(field, "is not JSON")]) from error
    return msgspec.Raw(data)


def _unsupported(what: str, where: str) -> UnsupportedFeature:
    return UnsupportedFeature(f"{what} is not supported for {where}")
