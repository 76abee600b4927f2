"""What each provider of docs/providers.md accepts, by its heading. The page names the sources."""

from __future__ import annotations

from tests.support.provider import Rules

_BASE = frozenset({"model", "messages", "stream", "temperature", "top_p", "stop", "tools", "tool_choice"})
_PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})
_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
_OPENAI = (
    _BASE
    | _PENALTIES
    | _LOGPROBS
    | {
        "max_tokens",
        "max_completion_tokens",
        "stream_options",
        "logit_bias",
        "n",
        "parallel_tool_calls",
        "response_format",
        "seed",
        "user",
    }
)
KEY = "provider-key"
_BEARER = {"Authorization": f"Bearer {KEY}"}

RULES: dict[str, Rules] = {
    "Azure OpenAI, by deployment": Rules(
        host="example.openai.azure.com",
        path="/openai/deployments/gpt-4o/chat/completions",
        query={"api-version": "2024-10-21"},
        headers={"api-key": KEY},
        fields=_OPENAI | {"data_sources"},
        model="gpt-4o",
    ),
    "Azure OpenAI, v1": Rules(
        host="example.openai.azure.com",
        path="/openai/v1/chat/completions",
        headers={"api-key": KEY},
        fields=_OPENAI | {"reasoning_effort", "metadata", "store"},
        model="gpt-4o",
    ),
    "OpenRouter": Rules(
        host="openrouter.ai",
        path="/api/v1/chat/completions",
        headers=_BEARER | {"HTTP-Referer": "https://example.com", "X-Title": "Example"},
        fields=_OPENAI
        | {"top_k", "min_p", "repetition_penalty", "provider", "models", "reasoning", "usage", "transforms"},
        message_fields=frozenset({"role", "content", "tool_calls", "reasoning", "reasoning_details"}),
        model="anthropic/claude-sonnet-4.6",
    ),
    "Gemini": Rules(
        host="generativelanguage.googleapis.com",
        path="/v1beta/openai/chat/completions",
        headers=_BEARER,
        fields=_BASE
        | {
            "max_tokens",
            "max_completion_tokens",
            "stream_options",
            "n",
            "response_format",
            "reasoning_effort",
        },
        model="gemini-3.5-flash",
    ),
    "Groq": Rules(
        host="api.groq.com",
        path="/openai/v1/chat/completions",
        headers=_BEARER,
        fields=(_OPENAI - _LOGPROBS - {"logit_bias"})
        | {"reasoning_effort", "reasoning_format", "service_tier"},
        model="openai/gpt-oss-120b",
    ),
    "Mistral": Rules(
        host="api.mistral.ai",
        path="/v1/chat/completions",
        headers=_BEARER,
        fields=_BASE
        | _PENALTIES
        | {
            "max_tokens",
            "random_seed",
            "response_format",
            "n",
            "prediction",
            "parallel_tool_calls",
            "prompt_mode",
            "safe_prompt",
            "metadata",
            "reasoning_effort",
        },
        model="mistral-large-latest",
        field_status=422,
    ),
    "xAI": Rules(
        host="api.x.ai",
        path="/v1/chat/completions",
        headers=_BEARER,
        fields=_OPENAI | {"reasoning_effort", "deferred", "search_parameters"},
        model="grok-4",
        field_status=422,
    ),
    "DeepSeek": Rules(
        host="api.deepseek.com",
        path="/chat/completions",
        headers=_BEARER,
        fields=_BASE
        | _PENALTIES
        | _LOGPROBS
        | {"max_tokens", "response_format", "stream_options", "thinking", "reasoning_effort"},
        message_fields=frozenset({"role", "content", "tool_calls", "name", "prefix", "reasoning_content"}),
        model="deepseek-chat",
        field_status=422,
    ),
    "Together": Rules(
        host="api.together.xyz",
        path="/v1/chat/completions",
        headers=_BEARER,
        fields=_BASE
        | _PENALTIES
        | {
            "max_tokens",
            "echo",
            "logit_bias",
            "logprobs",
            "min_p",
            "n",
            "repetition_penalty",
            "response_format",
            "safety_model",
            "top_k",
        },
        model="meta-llama/Llama-3.3-70B-Instruct-Turbo",
    ),
    "Amazon Bedrock": Rules(
        host="bedrock-runtime.us-west-2.amazonaws.com",
        path="/openai/v1/chat/completions",
        headers=_BEARER,
        fields=_OPENAI | {"reasoning_effort"},
        model="openai.gpt-oss-120b-1:0",
    ),
    "Amazon Bedrock, through LiteLLM": Rules(
        host="127.0.0.1:4000",
        path="/v1/chat/completions",
        headers=_BEARER,
        fields=_OPENAI | {"thinking", "reasoning_effort"},
        message_fields=frozenset(
            {"role", "content", "tool_calls", "reasoning_content", "provider_specific_fields"}
        ),
        model="bedrock-claude",
    ),
    "LM Studio": Rules(
        host="127.0.0.1:1234",
        path="/v1/chat/completions",
        fields=_BASE
        | _PENALTIES
        | {
            "max_tokens",
            "stream_options",
            "logit_bias",
            "repeat_penalty",
            "seed",
            "top_k",
            "response_format",
        },
        model="openai/gpt-oss-20b",
    ),
}
