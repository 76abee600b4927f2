"""The dialects of OpenAI-compatible servers: one row per dialect, with its features and field names.

Code that depends on the dialect reads its row; no code compares dialect names. The comment above a row names
the source of its facts. If a row has no field for a feature, a request for that feature is rejected, because
most servers silently ignore fields they do not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tokengrpc.core.model import Capability
from tokengrpc.engines.openai.constraints import (
    ConstraintEncoder,
    as_field,
    as_grammar,
    as_json_object,
    as_response_format,
    as_structured_output,
    as_text_field,
    as_tgi_json_schema,
    as_tgi_regex,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Api(StrEnum):
    """The two OpenAI APIs. Each value is the path below the base URL."""

    CHAT = "/chat/completions"
    COMPLETIONS = "/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRow:
    """Capabilities and field names of one API of a dialect."""

    capabilities: frozenset[Capability]
    sampling: Mapping[str, str]
    """Maps each supported field of `Sampling` to the server's name for it."""
    max_tokens: str = "max_tokens"
    """Name of the field that limits the number of output tokens."""
    constraints: Mapping[str, ConstraintEncoder] = field(default_factory=dict)
    """Maps each supported form of `OutputConstraint`, such as json_schema or regex, to its encoder."""
    token_id_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields that request the token ids of the input and the output."""
    min_top_logprobs: int = 0
    """Smallest number of alternatives to request. With fewer, the server returns no logprobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Features and field names of one kind of server."""

    chat: ApiRow
    completions: ApiRow
    prompt_api: Api = Api.COMPLETIONS
    """The API that receives a prompt when the setting `api` is `auto`."""
    base_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every request, in addition to the model and `stream`."""
    prefill_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields that make the server continue the last message of a chat if it is an assistant message."""
    trims_prefill: bool = False
    """Whether the server strips trailing white space from that message. Such a text cannot be continued."""
    budget_fields: Mapping[str, Any] | None = None
    """Fields that limit the reasoning tokens, with BUDGET as placeholder; None if there are none."""
    reasoning_fields: tuple[str, ...] = ("reasoning_content", "reasoning")
    """Message fields that carry the reasoning of earlier turns; empty if it is not sent."""
    check_path: str | None = "/models"
    """Path of the health check; None if a request in the background would disturb the server."""
    asks_for_load: bool = False
    """Whether the server may report its load if a request header asks for it."""
    learns_fields: bool = False
    """Whether optional fields that the server refuses are omitted from then on."""
    call_extras: bool = False
    """Whether the server may send extra fields with a tool call that it requires back (Gemini)."""
    fetches_images: bool = True
    """Whether the server fetches images by URI. If not, images must be sent as bytes or data URIs."""
    tool_modes: frozenset[str] = frozenset({"none", "required", "function"})
    """Supported modes of `ToolChoice` besides auto. If `none` is missing, that mode omits the tools."""
    can_disable_parallel_calls: bool = True
    """Whether the server has a field that disables parallel tool calls."""
    logprobs_with_tools: bool = True
    """Whether the server returns logprobs for requests with tools."""

    def row(self, api: Api) -> ApiRow:
        """Returns the row of one API."""
        return self.chat if api is Api.CHAT else self.completions


BUDGET = object()
"""Placeholder for the number of tokens in `Dialect.budget_fields`."""

_C = Capability
_SAMPLING_FIELDS = (
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
_SAMPLING_NAMES = {name: name for name in _SAMPLING_FIELDS} | {"stop_sequences": "stop"}
_OPENAI_NAMES = {
    k: v for k, v in _SAMPLING_NAMES.items() if k not in {"top_k", "min_p", "repetition_penalty"}
}
_USAGE = {"stream_options": {"include_usage": True}}
_USAGE_PER_CHUNK = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
RETURN_TOKEN_IDS = {"return_token_ids": True}

# Source: openai-python, types/chat/completion_create_params.py and types/completion_create_params.py.
# Sampling also has the names that the other servers share.
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
    sampling=_SAMPLING_NAMES,
    constraints={"json_schema": as_response_format},
)
_COMPLETIONS = ApiRow(
    capabilities=frozenset({_C.PROMPT, _C.PROMPT_TOKEN_IDS, _C.LOGPROBS}), sampling=_SAMPLING_NAMES
)

# For servers that no other row describes: sends every field that has a common name.
GENERIC = Dialect(
    chat=_CHAT, completions=_COMPLETIONS, base_fields=_USAGE, learns_fields=True, call_extras=True
)

# OpenAI rejects max_tokens for its newer models. These have no completions API, so prompts go to chat. There
# is no field for the reasoning of earlier turns.
OPENAI = Dialect(
    chat=replace(_CHAT, sampling=_OPENAI_NAMES, max_tokens="max_completion_tokens"),
    completions=replace(_COMPLETIONS, sampling=_OPENAI_NAMES),
    prompt_api=Api.CHAT,
    base_fields=_USAGE,
    reasoning_fields=(),
)

_CONTINUATION = frozenset({_C.CONTINUE_TOKEN_IDS, _C.CONTINUE_TEXT})
_VLLM_CONSTRAINTS = {
    "json_schema": as_structured_output("json"),
    "regex": as_structured_output("regex"),
    "grammar": as_structured_output("grammar"),
    "choices": as_structured_output("choice"),
}
_VLLM_EXTRA = frozenset({_C.TOKEN_IDS, _C.JSON_SCHEMA, _C.REGEX, _C.GRAMMAR, _C.CHOICES}) | _CONTINUATION

# Source: vllm/entrypoints/openai, chat_completion/protocol.py and completion/protocol.py: return_token_ids
# (the input's ids come in the first chunk), continue_final_message, thinking_token_budget. structured_outputs
# exists since 0.12; the older guided_* fields have been removed.
VLLM = Dialect(
    asks_for_load=True,
    chat=replace(
        _CHAT,
        capabilities=_CHAT.capabilities | _VLLM_EXTRA,
        constraints=_VLLM_CONSTRAINTS | {"json_schema": as_response_format},
        token_id_fields=RETURN_TOKEN_IDS,
    ),
    completions=replace(
        _COMPLETIONS,
        capabilities=_COMPLETIONS.capabilities | _VLLM_EXTRA,
        constraints=_VLLM_CONSTRAINTS,
        token_id_fields=RETURN_TOKEN_IDS,
    ),
    base_fields=_USAGE_PER_CHUNK,
    prefill_fields={"continue_final_message": True, "add_generation_prompt": False},
    budget_fields={"thinking_token_budget": BUDGET},
)

_SGLANG_CONSTRAINTS = {"regex": as_field("regex"), "grammar": as_field("ebnf")}
_SGLANG_EXTRA = frozenset({_C.JSON_SCHEMA, _C.REGEX, _C.GRAMMAR}) | _CONTINUATION

# Source: sglang/srt/entrypoints/openai, protocol.py: regex, ebnf, json_schema (as a string) and
# continue_final_message. serving_completions.py streams token ids; not all versions of serving_chat.py do.
SGLANG = Dialect(
    chat=replace(
        _CHAT,
        capabilities=_CHAT.capabilities | _SGLANG_EXTRA,
        constraints=_SGLANG_CONSTRAINTS | {"json_schema": as_response_format},
    ),
    completions=replace(
        _COMPLETIONS,
        capabilities=_COMPLETIONS.capabilities | _SGLANG_EXTRA | {_C.TOKEN_IDS},
        constraints=_SGLANG_CONSTRAINTS | {"json_schema": as_text_field("json_schema")},
        token_id_fields=RETURN_TOKEN_IDS,
    ),
    base_fields=_USAGE_PER_CHUNK,
    prefill_fields={"continue_final_message": True},
    reasoning_fields=("reasoning_content",),
)

_LLAMA_NAMES = _SAMPLING_NAMES | {"repetition_penalty": "repeat_penalty"}
_LLAMA_CONSTRAINTS = {"grammar": as_field("grammar"), "choices": as_grammar("grammar")}
_LLAMA_EXTRA = frozenset({_C.JSON_SCHEMA, _C.GRAMMAR, _C.CHOICES}) | _CONTINUATION

# Source: llama.cpp, tools/server: server-schema.cpp (fields; "logprobs" is the number of alternatives, 0
# means no logprobs), server-common.cpp (a final assistant message is continued; no logprobs together with
# tools). Token ids come with the logprobs, but a token that ends inside a character has no chunk
# (server-context.cpp, process_token). Its id would be missing, so TOKEN_IDS is not declared.
LLAMA_CPP = Dialect(
    chat=replace(
        _CHAT,
        capabilities=_CHAT.capabilities | _LLAMA_EXTRA,
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS | {"json_schema": as_response_format},
        min_top_logprobs=1,
    ),
    completions=replace(
        _COMPLETIONS,
        capabilities=_COMPLETIONS.capabilities | _LLAMA_EXTRA,
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS | {"json_schema": as_field("json_schema")},
        min_top_logprobs=1,
    ),
    base_fields={**_USAGE, "timings_per_token": True},
    reasoning_fields=("reasoning_content",),
    logprobs_with_tools=False,
)

_OLLAMA_NAMES = {k: v for k, v in _OPENAI_NAMES.items() if k != "logit_bias"}

# Source: ollama, openai/openai.go: structs ChatCompletionRequest and CompletionRequest (all fields that are
# read; a prompt is a single string and goes through the model's template), ToCompleteChunk (no logprobs),
# decodeImageURL (fetches nothing). Whether a final assistant message is continued depends on the model's
# template or renderer, so CONTINUE_TEXT is not declared.
OLLAMA = Dialect(
    chat=replace(_CHAT, sampling=_OLLAMA_NAMES),
    completions=replace(_COMPLETIONS, capabilities=frozenset({_C.PROMPT}), sampling=_OLLAMA_NAMES),
    base_fields=_USAGE,
    reasoning_fields=("reasoning",),
    fetches_images=False,
    tool_modes=frozenset(),
    can_disable_parallel_calls=False,
)

_TGI_NAMES = {
    name: _SAMPLING_NAMES[name]
    for name in ("temperature", "top_p", "seed", "frequency_penalty", "stop_sequences")
}

# Source: text-generation-inference, router/src: lib.rs (ChatRequest, CompletionRequest, GrammarType;
# presence_penalty is not supported here, because TGI turns it into a repetition penalty),
# infer/chat_template.rs (a final assistant message is trimmed and continued), server.rs.
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
    base_fields=_USAGE,
    trims_prefill=True,
    reasoning_fields=(),
    can_disable_parallel_calls=False,
)

# Source: the LiteLLM docs, "completion/input" and "reasoning_content" (`thinking`). LiteLLM forwards fields
# it does not know and rejects what the provider does not support. Prompts go to chat, as most providers
# expect.
LITELLM = Dialect(
    chat=_CHAT,
    completions=_COMPLETIONS,
    prompt_api=Api.CHAT,
    base_fields=_USAGE,
    budget_fields={"thinking": {"type": "enabled", "budget_tokens": BUDGET}},
    reasoning_fields=("reasoning_content",),
    call_extras=True,
)

# Source: llama-cpp-python, llama_cpp/server/types.py (fields; others are ignored, so there is no usage). The
# server runs one request at a time, and by default any other request interrupts a stream.
LLAMA_CPP_PYTHON = Dialect(
    chat=replace(
        _CHAT,
        capabilities=(_CHAT.capabilities - {_C.REASONING, _C.RAW_BYTES}) | {_C.GRAMMAR, _C.CHOICES},
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS | {"json_schema": as_json_object},
    ),
    completions=replace(
        _COMPLETIONS,
        capabilities=frozenset({_C.PROMPT, _C.LOGPROBS, _C.GRAMMAR, _C.CHOICES}),
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS,
    ),
    reasoning_fields=(),
    can_disable_parallel_calls=False,
    check_path=None,
)

_TRANSFORMERS_NAMES = {
    name: _SAMPLING_NAMES[name] for name in ("temperature", "top_p", "seed", "stop_sequences")
}

# Source: transformers, docs/source/en/serve-cli/serving.md, and tries: `transformers serve` leaves stop
# sequences in the answer and sends no logprobs. Its list of models is read from the disk or the network, and
# takes longer than a health check may.
TRANSFORMERS = Dialect(
    chat=replace(
        _CHAT,
        capabilities=frozenset({_C.PROMPT, _C.CONVERSATION, _C.TOOLS, _C.IMAGES}),
        sampling=_TRANSFORMERS_NAMES,
        constraints={},
    ),
    completions=replace(_COMPLETIONS, capabilities=frozenset(), sampling=_TRANSFORMERS_NAMES),
    prompt_api=Api.CHAT,
    reasoning_fields=(),
    tool_modes=frozenset(),
    can_disable_parallel_calls=False,
    check_path=None,
)

_MISTRAL_NAMES = {k: v for k, v in _OPENAI_NAMES.items() if k != "logit_bias"} | {"seed": "random_seed"}

# Source: mistralai/client-python, docs/models/chatcompletionstreamrequest.md. Mistral refuses fields that it
# does not know: stream_options (dnakov/anon-kode#53; the usage comes by itself), reasoning of earlier turns
# (charmbracelet/crush#1590), seed. There is no completions API.
MISTRAL = Dialect(
    chat=replace(
        _CHAT, capabilities=_CHAT.capabilities - {_C.LOGPROBS, _C.RAW_BYTES}, sampling=_MISTRAL_NAMES
    ),
    completions=replace(_COMPLETIONS, capabilities=frozenset(), sampling=_MISTRAL_NAMES),
    prompt_api=Api.CHAT,
    reasoning_fields=(),
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
    "llamacpp-python": LLAMA_CPP_PYTHON,
    "transformers": TRANSFORMERS,
    "mistral": MISTRAL,
}

# The core may need these for any request, so with `auto` both APIs must have them.
_NEEDED_ON_BOTH_APIS = frozenset({_C.TOKEN_IDS, _C.CONTINUE_TOKEN_IDS, _C.CONTINUE_TEXT})


def capabilities(dialect: Dialect, api: str) -> frozenset[Capability]:
    """Returns the capabilities of a dialect for the setting `api`: auto, chat or completions."""
    chat, completions = dialect.chat.capabilities, dialect.completions.capabilities
    if api == "chat":
        # A continuation by token ids uses the completions API.
        return chat - {_C.CONTINUE_TOKEN_IDS}
    if api == "completions":
        return completions
    if dialect.prompt_api is Api.CHAT:
        completions &= {_C.PROMPT_TOKEN_IDS}
        return chat | completions
    on_both = chat & completions & _NEEDED_ON_BOTH_APIS
    return ((chat | completions) - _NEEDED_ON_BOTH_APIS) | on_both
