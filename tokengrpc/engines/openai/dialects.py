"""What OpenAI-compatible servers know of what a request can ask: one row per dialect.

The request encoder and the capabilities read it; nothing else asks for a dialect's name. Each row names where
its facts were read. What a row has no field for is refused, since most servers silently ignore what they do
not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tokengrpc.core.model import Capability
from tokengrpc.engines.openai.constraints import (
    Constrain,
    as_field,
    as_grammar,
    as_response_format,
    as_structured_output,
    as_text_field,
    as_tgi_json_schema,
    as_tgi_regex,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Api(StrEnum):
    """The two APIs, by their paths under the base URL."""

    CHAT = "/chat/completions"
    COMPLETIONS = "/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRow:
    """One API of a dialect: what it can do, and by which fields."""

    capabilities: frozenset[Capability]
    sampling: Mapping[str, str]
    """The server's name of each field of `Sampling` that it knows."""
    max_tokens: str = "max_tokens"
    constraints: Mapping[str, Constrain] = field(default_factory=dict)
    """By the form that `OutputConstraint` has: json_schema, regex, grammar, choices."""
    token_ids: Mapping[str, Any] = field(default_factory=dict)
    """What asks for the ids of input and output."""
    least_top_logprobs: int = 0
    """The fewest alternatives that can be asked for: less of them brings no logprobs at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One kind of server."""

    chat: ApiRow
    completions: ApiRow
    prompts_to: Api = Api.COMPLETIONS
    """Where `api = "auto"` sends a prompt."""
    always: Mapping[str, Any] = field(default_factory=dict)
    """What every request has, beside the model and `stream`."""
    prefill: Mapping[str, Any] = field(default_factory=dict)
    """What makes the server go on with the last message of a chat, when that is the assistant's."""
    prefill_trims: bool = False
    """Whether it cuts white space off that message's end, so that such a text cannot be continued."""
    token_budget: Mapping[str, Any] | None = None
    """What bounds the tokens of reasoning; BUDGET stands for their number."""
    reasoning_names: tuple[str, ...] = ("reasoning_content", "reasoning")
    """Under which names reasoning of earlier turns goes back."""
    image_uris: bool = True
    """Whether it fetches images; otherwise they must come as bytes or data URIs."""
    tool_modes: frozenset[str] = frozenset({"none", "required", "function"})
    """The modes of `ToolChoice` that it knows beside auto; without none, tools are left out for it."""
    parallel_switch: bool = True
    """Whether parallel tool calls can be switched off."""
    logprobs_with_tools: bool = True

    def row(self, api: Api) -> ApiRow:
        """What one API can do."""
        return self.chat if api is Api.CHAT else self.completions


BUDGET = object()

_C = Capability
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "stop_sequences",
    "logit_bias",
)
_NAMES = {name: name for name in _SAMPLING} | {"stop_sequences": "stop"}
_OPENAI_NAMES = {k: v for k, v in _NAMES.items() if k not in {"top_k", "min_p", "repetition_penalty"}}
_USAGE = {"stream_options": {"include_usage": True}}
_RUNNING_USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
_RETURN_TOKEN_IDS = {"return_token_ids": True}

# openai-python, types/chat/completion_create_params.py and types/completion_create_params.py, with the names
# that other servers agreed on.
_CHAT = ApiRow(
    capabilities=frozenset(
        {
            _C.PROMPT,
            _C.CONVERSATION,
            _C.LOGPROBS,
            _C.TOOLS,
            _C.IMAGES,
            _C.REASONING,
            _C.RAW_BYTES,
            _C.JSON_SCHEMA,
        }
    ),
    sampling=_NAMES,
    constraints={"json_schema": as_response_format},
)
_COMPLETIONS = ApiRow(capabilities=frozenset({_C.PROMPT, _C.PROMPT_TOKEN_IDS, _C.LOGPROBS}), sampling=_NAMES)

# Sends everything that has a common name: for servers that are none of the others.
GENERIC = Dialect(chat=_CHAT, completions=_COMPLETIONS, always=_USAGE)

# It refuses max_tokens for its newer models, which have no completions API; reasoning has no field.
OPENAI = Dialect(
    chat=replace(_CHAT, sampling=_OPENAI_NAMES, max_tokens="max_completion_tokens"),
    completions=replace(_COMPLETIONS, sampling=_OPENAI_NAMES),
    prompts_to=Api.CHAT,
    always=_USAGE,
    reasoning_names=(),
)

_CONTINUES = frozenset({_C.CONTINUE_TOKEN_IDS, _C.CONTINUE_TEXT})
_VLLM_CONSTRAINTS = {
    "json_schema": as_structured_output("json"),
    "regex": as_structured_output("regex"),
    "grammar": as_structured_output("grammar"),
    "choices": as_structured_output("choice"),
}
_VLLM_MORE = frozenset({_C.TOKEN_IDS, _C.JSON_SCHEMA, _C.REGEX, _C.GRAMMAR, _C.CHOICES}) | _CONTINUES

# vllm/entrypoints/openai, chat_completion/protocol.py and completion/protocol.py: return_token_ids (those of
# the input in the first chunk), continue_final_message, thinking_token_budget. structured_outputs since 0.12;
# the older guided_* fields are gone.
VLLM = Dialect(
    chat=replace(
        _CHAT,
        capabilities=_CHAT.capabilities | _VLLM_MORE,
        constraints=_VLLM_CONSTRAINTS | {"json_schema": as_response_format},
        token_ids=_RETURN_TOKEN_IDS,
    ),
    completions=replace(
        _COMPLETIONS,
        capabilities=_COMPLETIONS.capabilities | _VLLM_MORE,
        constraints=_VLLM_CONSTRAINTS,
        token_ids=_RETURN_TOKEN_IDS,
    ),
    always=_RUNNING_USAGE,
    prefill={"continue_final_message": True, "add_generation_prompt": False},
    token_budget={"thinking_token_budget": BUDGET},
)

_SGLANG_CONSTRAINTS = {"regex": as_field("regex"), "grammar": as_field("ebnf")}
_SGLANG_MORE = frozenset({_C.JSON_SCHEMA, _C.REGEX, _C.GRAMMAR}) | _CONTINUES

# sglang/srt/entrypoints/openai, protocol.py: regex, ebnf, json_schema (as text) and continue_final_message.
# Ids of a stream are in serving_completions.py, not in all versions of serving_chat.py.
SGLANG = Dialect(
    chat=replace(
        _CHAT,
        capabilities=_CHAT.capabilities | _SGLANG_MORE,
        constraints=_SGLANG_CONSTRAINTS | {"json_schema": as_response_format},
    ),
    completions=replace(
        _COMPLETIONS,
        capabilities=_COMPLETIONS.capabilities | _SGLANG_MORE | {_C.TOKEN_IDS},
        constraints=_SGLANG_CONSTRAINTS | {"json_schema": as_text_field("json_schema")},
        token_ids=_RETURN_TOKEN_IDS,
    ),
    always=_RUNNING_USAGE,
    prefill={"continue_final_message": True},
    reasoning_names=("reasoning_content",),
)

_LLAMA_NAMES = _NAMES | {"repetition_penalty": "repeat_penalty"}
_LLAMA_CONSTRAINTS = {"grammar": as_field("grammar"), "choices": as_grammar("grammar")}
_LLAMA_MORE = frozenset({_C.JSON_SCHEMA, _C.GRAMMAR, _C.CHOICES}) | _CONTINUES

# llama.cpp, tools/server: server-schema.cpp (the fields; "logprobs" is a number of alternatives, 0 is none),
# server-common.cpp (a last message of the assistant is continued; no logprobs beside tools). Ids come with
# the logprobs, but a token that ends inside a character has no chunk (server-context.cpp, process_token), so
# TOKEN_IDS is not declared.
LLAMA_CPP = Dialect(
    chat=replace(
        _CHAT,
        capabilities=_CHAT.capabilities | _LLAMA_MORE,
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS | {"json_schema": as_response_format},
        least_top_logprobs=1,
    ),
    completions=replace(
        _COMPLETIONS,
        capabilities=_COMPLETIONS.capabilities | _LLAMA_MORE,
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS | {"json_schema": as_field("json_schema")},
        least_top_logprobs=1,
    ),
    always={**_USAGE, "timings_per_token": True},
    reasoning_names=("reasoning_content",),
    logprobs_with_tools=False,
)

_OLLAMA_NAMES = {k: v for k, v in _OPENAI_NAMES.items() if k != "logit_bias"}

# ollama, openai/openai.go: structs ChatCompletionRequest and CompletionRequest (all that is read; a prompt is
# one text, and goes through the model's template); ToCompleteChunk tells no logprobs; decodeImageURL fetches
# nothing. Whether a last message of the assistant is continued depends on the model's template or renderer.
OLLAMA = Dialect(
    chat=replace(_CHAT, sampling=_OLLAMA_NAMES),
    completions=replace(_COMPLETIONS, capabilities=frozenset({_C.PROMPT}), sampling=_OLLAMA_NAMES),
    always=_USAGE,
    reasoning_names=("reasoning",),
    image_uris=False,
    tool_modes=frozenset(),
    parallel_switch=False,
)

_TGI_NAMES = {
    name: _NAMES[name] for name in ("temperature", "top_p", "seed", "frequency_penalty", "stop_sequences")
}

# text-generation-inference, router/src: lib.rs (ChatRequest, CompletionRequest, GrammarType; presence_penalty
# becomes a repetition penalty there), infer/chat_template.rs (a last message of the assistant is continued,
# trimmed), server.rs.
TGI = Dialect(
    chat=replace(
        _CHAT,
        capabilities=(_CHAT.capabilities - {_C.REASONING, _C.RAW_BYTES}) | {_C.REGEX, _C.CONTINUE_TEXT},
        sampling=_TGI_NAMES,
        constraints={"json_schema": as_tgi_json_schema, "regex": as_tgi_regex},
    ),
    completions=replace(
        _COMPLETIONS,
        capabilities=frozenset({_C.PROMPT, _C.CONTINUE_TEXT}),
        sampling={**_TGI_NAMES, "repetition_penalty": "repetition_penalty"},
    ),
    always=_USAGE,
    prefill_trims=True,
    reasoning_names=(),
    parallel_switch=False,
)

# litellm passes on what it does not know, and refuses what a provider cannot do (docs, "completion/input",
# "reasoning_content": `thinking`). A prompt is sent as most providers want it.
LITELLM = Dialect(
    chat=_CHAT,
    completions=_COMPLETIONS,
    prompts_to=Api.CHAT,
    always=_USAGE,
    token_budget={"thinking": {"type": "enabled", "budget_tokens": BUDGET}},
    reasoning_names=("reasoning_content",),
)

DIALECTS: dict[str, Dialect] = {
    "generic": GENERIC,
    "openai": OPENAI,
    "vllm": VLLM,
    "sglang": SGLANG,
    "llamacpp": LLAMA_CPP,
    "ollama": OLLAMA,
    "tgi": TGI,
    "litellm": LITELLM,
}

# What may be asked of every request by the server itself, so that it must hold for both APIs.
_EVERYWHERE = frozenset({_C.TOKEN_IDS, _C.CONTINUE_TOKEN_IDS, _C.CONTINUE_TEXT})


def capabilities(dialect: Dialect, api: str) -> frozenset[Capability]:
    """What requests may ask of a dialect by `api`: auto, chat or completions."""
    chat, completions = dialect.chat.capabilities, dialect.completions.capabilities
    if api == "chat":
        # A continuation by ids goes to the other API.
        return chat - {_C.CONTINUE_TOKEN_IDS}
    if api == "completions":
        return completions
    if dialect.prompts_to is Api.CHAT:
        completions &= {_C.PROMPT_TOKEN_IDS}
        return chat | completions
    return ((chat | completions) - _EVERYWHERE) | (chat & completions & _EVERYWHERE)
