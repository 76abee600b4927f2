"""The dialects of OpenAI-compatible servers: one row per dialect, with its features and field names.

Code that depends on the dialect reads its row; no code compares dialect names. The comment above a row names
the source of its facts. If a row has no field for a feature, a request for that feature is rejected, because
most servers silently ignore fields they do not know.
"""

from __future__ import annotations

from dataclasses import replace

from tokengrpc.core.model import Capability
from tokengrpc.core.tenant import Priority
from tokengrpc.engines.openai.dialects.common import (
    CHAT,
    COMPLETIONS,
    OPENAI_NAMES,
    RETURN_TOKEN_IDS,
    SAMPLING_NAMES,
    USAGE,
    USAGE_PER_CHUNK,
)
from tokengrpc.engines.openai.dialects.constraints import (
    as_field,
    as_grammar,
    as_json_object,
    as_response_format,
    as_structured_output,
    as_text_field,
    as_tgi_json_schema,
    as_tgi_regex,
)
from tokengrpc.engines.openai.dialects.row import BUDGET, Api, Dialect

_C = Capability

# For servers that no other row describes: sends every field that has a common name.
GENERIC = Dialect(
    chat=CHAT,
    completions=COMPLETIONS,
    base_fields=USAGE,
    learns_fields=True,
    call_extras=True,
    provider="openai",
)

# OpenAI rejects max_tokens for its newer models. These have no completions API, so prompts go to chat. There
# is no field for the reasoning of earlier turns.
OPENAI = Dialect(
    chat=replace(CHAT, sampling=OPENAI_NAMES, max_tokens="max_completion_tokens"),
    completions=replace(COMPLETIONS, sampling=OPENAI_NAMES),
    prompt_api=Api.CHAT,
    base_fields=USAGE,
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
# exists since 0.12; the older guided_* fields have been removed. priority: lower values come first; any but 0
# is an error unless the server runs with --scheduling-policy priority.
VLLM = Dialect(
    priorities={Priority.INTERACTIVE: -1, Priority.STANDARD: 0, Priority.BATCH: 1},
    asks_for_load=True,
    chat=replace(
        CHAT,
        capabilities=CHAT.capabilities | _VLLM_EXTRA,
        constraints=_VLLM_CONSTRAINTS | {"json_schema": as_response_format},
        token_id_fields=RETURN_TOKEN_IDS,
    ),
    completions=replace(
        COMPLETIONS,
        capabilities=COMPLETIONS.capabilities | _VLLM_EXTRA,
        constraints=_VLLM_CONSTRAINTS,
        token_id_fields=RETURN_TOKEN_IDS,
    ),
    base_fields=USAGE_PER_CHUNK,
    prefill_fields={"continue_final_message": True, "add_generation_prompt": False},
    budget_fields={"thinking_token_budget": BUDGET},
)

_SGLANG_CONSTRAINTS = {"regex": as_field("regex"), "grammar": as_field("ebnf")}
_SGLANG_EXTRA = frozenset({_C.JSON_SCHEMA, _C.REGEX, _C.GRAMMAR}) | _CONTINUATION

# Source: sglang/srt/entrypoints/openai, protocol.py: regex, ebnf, json_schema (as a string) and
# continue_final_message. serving_completions.py streams token ids; not all versions of serving_chat.py do.
# priority: higher values come first with --enable-priority-scheduling, unless the server also runs with
# --schedule-low-priority-values-first.
SGLANG = Dialect(
    priorities={Priority.INTERACTIVE: 1, Priority.STANDARD: 0, Priority.BATCH: -1},
    chat=replace(
        CHAT,
        capabilities=CHAT.capabilities | _SGLANG_EXTRA,
        constraints=_SGLANG_CONSTRAINTS | {"json_schema": as_response_format},
    ),
    completions=replace(
        COMPLETIONS,
        capabilities=COMPLETIONS.capabilities | _SGLANG_EXTRA | {_C.TOKEN_IDS},
        constraints=_SGLANG_CONSTRAINTS | {"json_schema": as_text_field("json_schema")},
        token_id_fields=RETURN_TOKEN_IDS,
    ),
    base_fields=USAGE_PER_CHUNK,
    prefill_fields={"continue_final_message": True},
    reasoning_fields=("reasoning_content",),
)

_LLAMA_NAMES = SAMPLING_NAMES | {"repetition_penalty": "repeat_penalty"}
_LLAMA_CONSTRAINTS = {"grammar": as_field("grammar"), "choices": as_grammar("grammar")}
_LLAMA_EXTRA = frozenset({_C.JSON_SCHEMA, _C.GRAMMAR, _C.CHOICES}) | _CONTINUATION

# Source: llama.cpp, tools/server: server-schema.cpp (fields; "logprobs" is the number of alternatives, 0
# means no logprobs), server-common.cpp (a final assistant message is continued; no logprobs together with
# tools). Token ids come with the logprobs, but a token that ends inside a character has no chunk
# (server-context.cpp, process_token). Its id would be missing, so TOKEN_IDS is not declared.
LLAMA_CPP = Dialect(
    chat=replace(
        CHAT,
        capabilities=CHAT.capabilities | _LLAMA_EXTRA,
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS | {"json_schema": as_response_format},
        min_top_logprobs=1,
    ),
    completions=replace(
        COMPLETIONS,
        capabilities=COMPLETIONS.capabilities | _LLAMA_EXTRA,
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS | {"json_schema": as_field("json_schema")},
        min_top_logprobs=1,
    ),
    base_fields={**USAGE, "timings_per_token": True},
    reasoning_fields=("reasoning_content",),
    logprobs_with_tools=False,
)

_OLLAMA_NAMES = {k: v for k, v in OPENAI_NAMES.items() if k != "logit_bias"}

# Source: ollama, openai/openai.go: structs ChatCompletionRequest and CompletionRequest (all fields that are
# read; a prompt is a single string and goes through the model's template), ToCompleteChunk (no logprobs),
# decodeImageURL (fetches nothing). Whether a final assistant message is continued depends on the model's
# template or renderer, so CONTINUE_TEXT is not declared.
OLLAMA = Dialect(
    chat=replace(CHAT, sampling=_OLLAMA_NAMES),
    completions=replace(COMPLETIONS, capabilities=frozenset({_C.PROMPT}), sampling=_OLLAMA_NAMES),
    base_fields=USAGE,
    reasoning_fields=("reasoning",),
    fetches_images=False,
    tool_modes=frozenset(),
    can_disable_parallel_calls=False,
)

_TGI_NAMES = {
    name: SAMPLING_NAMES[name]
    for name in ("temperature", "top_p", "seed", "frequency_penalty", "stop_sequences")
}

# Source: text-generation-inference, router/src: lib.rs (ChatRequest, CompletionRequest, GrammarType;
# presence_penalty is not supported here, because TGI turns it into a repetition penalty),
# infer/chat_template.rs (a final assistant message is trimmed and continued), server.rs.
TGI = Dialect(
    chat=replace(
        CHAT,
        capabilities=(CHAT.capabilities - {_C.REASONING, _C.RAW_BYTES}) | {_C.REGEX, _C.CONTINUE_TEXT},
        sampling=_TGI_NAMES,
        constraints={"json_schema": as_tgi_json_schema, "regex": as_tgi_regex},
    ),
    completions=replace(
        COMPLETIONS,
        capabilities=frozenset({_C.PROMPT, _C.CONTINUE_TEXT}),
        sampling={**_TGI_NAMES, "repetition_penalty": "repetition_penalty"},
    ),
    base_fields=USAGE,
    trims_prefill=True,
    reasoning_fields=(),
    can_disable_parallel_calls=False,
)

# Source: the LiteLLM docs, "completion/input" and "reasoning_content" (`thinking`). LiteLLM forwards fields
# it does not know and rejects what the provider does not support. Prompts go to chat, as most providers
# expect.
LITELLM = Dialect(
    chat=CHAT,
    completions=COMPLETIONS,
    prompt_api=Api.CHAT,
    base_fields=USAGE,
    budget_fields={"thinking": {"type": "enabled", "budget_tokens": BUDGET}},
    reasoning_fields=("reasoning_content",),
    call_extras=True,
)

# Source: llama-cpp-python, llama_cpp/server/types.py (fields; others are ignored, so there is no usage). The
# server runs one request at a time, and by default any other request interrupts a stream.
LLAMA_CPP_PYTHON = Dialect(
    chat=replace(
        CHAT,
        capabilities=(CHAT.capabilities - {_C.REASONING, _C.RAW_BYTES}) | {_C.GRAMMAR, _C.CHOICES},
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS | {"json_schema": as_json_object},
    ),
    completions=replace(
        COMPLETIONS,
        capabilities=frozenset({_C.PROMPT, _C.LOGPROBS, _C.GRAMMAR, _C.CHOICES}),
        sampling=_LLAMA_NAMES,
        constraints=_LLAMA_CONSTRAINTS,
    ),
    reasoning_fields=(),
    can_disable_parallel_calls=False,
    check_path=None,
)

_TRANSFORMERS_NAMES = {
    name: SAMPLING_NAMES[name] for name in ("temperature", "top_p", "seed", "stop_sequences")
}

# Source: transformers, docs/source/en/serve-cli/serving.md, and tries: `transformers serve` leaves stop
# sequences in the answer and sends no logprobs. Its list of models is read from the disk or the network, and
# takes longer than a health check may.
TRANSFORMERS = Dialect(
    chat=replace(
        CHAT,
        capabilities=frozenset({_C.PROMPT, _C.CONVERSATION, _C.TOOLS, _C.IMAGES}),
        sampling=_TRANSFORMERS_NAMES,
        constraints={},
    ),
    completions=replace(COMPLETIONS, capabilities=frozenset(), sampling=_TRANSFORMERS_NAMES),
    prompt_api=Api.CHAT,
    reasoning_fields=(),
    tool_modes=frozenset(),
    can_disable_parallel_calls=False,
    check_path=None,
)

_MISTRAL_NAMES = {k: v for k, v in OPENAI_NAMES.items() if k != "logit_bias"} | {"seed": "random_seed"}

# Source: mistralai/client-python, docs/models/chatcompletionstreamrequest.md. Mistral refuses fields that it
# does not know: stream_options (dnakov/anon-kode#53; the usage comes by itself), reasoning of earlier turns
# (charmbracelet/crush#1590), seed. There is no completions API.
MISTRAL = Dialect(
    chat=replace(CHAT, capabilities=CHAT.capabilities - {_C.LOGPROBS, _C.RAW_BYTES}, sampling=_MISTRAL_NAMES),
    completions=replace(COMPLETIONS, capabilities=frozenset(), sampling=_MISTRAL_NAMES),
    prompt_api=Api.CHAT,
    reasoning_fields=(),
    provider="mistral_ai",
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
