"""The features that a request can ask for, and the engine parameters that it must not set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import Capability

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.request import GenerationRequest

REQUESTED_FEATURES: tuple[tuple[Capability, str, Callable[[GenerationRequest], object]], ...] = (
    (Capability.PROMPT, "prompt", lambda r: r.prompt is not None),
    (Capability.CONVERSATION, "conversation", lambda r: r.messages is not None),
    (Capability.PROMPT_TOKEN_IDS, "prompt_token_ids", lambda r: r.prompt_token_ids is not None),
    (Capability.TOOLS, "tools", lambda r: r.tools),
    (Capability.IMAGES, "an image", lambda r: r.has_image),
    (Capability.REASONING, "reasoning", lambda r: r.reasoning.effort or r.reasoning.token_budget),
    (Capability.LOGPROBS, "output.top_logprob_count", lambda r: r.output.top_logprob_count is not None),
    (Capability.TOKEN_IDS, "output.include_token_ids", lambda r: r.output.token_ids),
    (Capability.RAW_BYTES, "output.include_raw_bytes", lambda r: r.output.raw_bytes),
    (Capability.JSON_SCHEMA, "json_schema", lambda r: r.constraint and r.constraint.json_schema is not None),
    (Capability.REGEX, "regex", lambda r: r.constraint and r.constraint.regex is not None),
    (Capability.GRAMMAR, "grammar", lambda r: r.constraint and r.constraint.grammar is not None),
    (Capability.CHOICES, "choices", lambda r: r.constraint and r.constraint.choices is not None),
)
"""One row per feature: the capability, the name for error messages, and whether a request asks for it."""

OWNED_ENGINE_PARAMS = frozenset(
    {
        "model", "messages", "prompt", "input", "stream", "stream_options", "n", "best_of", "echo",
        "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop",
        "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs",
        "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort",
        "return_token_ids", "structured_outputs", "guided_json", "guided_regex", "guided_grammar",
        "guided_choice", "regex", "ebnf", "json_schema", "grammar", "format", "repeat_penalty",
        "continue_final_message", "add_generation_prompt", "thinking_token_budget", "thinking", "system",
        "stop_sequences", "output_config", "timings_per_token", "random_seed", "functions", "function_call",
    }
)  # fmt: skip
"""Keys of the engines' dialects that the server sets from fields of the contract."""
