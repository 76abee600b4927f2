"""The JSON of OpenAI-compatible chunks as structs, shared by both APIs, and its decoder.

Any field may be missing or null. Unknown fields are skipped. If a field is not OpenAI's own, the docstring
names the servers that send it. Chunks with other types are decoded by `lenient`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

# The contract's range for counts and ids (int32). A larger value is treated as malformed.
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Function(msgspec.Struct, gc=False):
    """A piece of a function call. Some versions of Ollama sent `arguments` as an object.

    `parameters` and `input` are other names of the arguments (`calls/shapes.py`).
    """

    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    parameters: Any = None
    input: Any = None


class ToolCall(msgspec.Struct, gc=False):
    """A piece of a tool call. Gemini sends no `index`, and wants `extra_content` back.

    OpenAI's custom tools have `custom` instead of `function`. Some servers send the function's fields here.
    """

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: Any = None
    provider_specific_fields: Any = None
    custom: Any = None
    name: Any = None
    arguments: Any = None
    parameters: Any = None
    input: Any = None


class MessageDelta(msgspec.Struct, gc=False):
    """A `delta`, or a `message`. What servers send in these fields is described in `content.py`.

    DeepSeek, llama.cpp and SGLang send reasoning as `reasoning_content`; vLLM, Ollama and OpenRouter as
    `reasoning`; some servers send both. OpenRouter adds `reasoning_details`, LiteLLM `thinking_blocks`.
    Mistral's `content` may be a list of parts. Some proxies send `text` instead, or an `error`, or the finish
    reason of the choice. OpenRouter sends `images`, OpenAI `audio` with a transcript. Some servers say in
    `type` or `channel` that the content is reasoning.
    """

    content: str | list[Any] | dict[str, Any] | None = None
    text: str | list[Any] | dict[str, Any] | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    thinking_blocks: Any = None
    refusal: Any = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    error: Any = None
    images: Any = None
    audio: Any = None
    type: Any = None
    channel: Any = None
    finish_reason: Any = None


class LogprobEntry(msgspec.Struct, gc=False):
    """One token. llama.cpp sends its `id`, and may send null as the logprob of a probability of 0."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    id: Natural | None = None
    top_logprobs: list[LogprobEntry] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """The lists of entries of the chat API, or the parallel lists of the completions API."""

    content: list[LogprobEntry] | None = None
    refusal: list[LogprobEntry] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class Choice(msgspec.Struct, gc=False):
    """A piece of the answer.

    Only one answer is requested, so the `index` of a choice says nothing: some proxies put the number of a
    content block there. Some servers send the whole answer as `message` after its pieces.
    vLLM reports the matched stop sequence or stop token id in `stop_reason`, SGLang in `matched_stop`.
    `token_ids` are the ids of this chunk. In completions, vLLM and SGLang send `prompt_token_ids` once.
    Moonshot sends `usage` here, OpenRouter `error` and, beside OpenAI's word, that of the provider
    (`native_finish_reason`).
    """

    delta: MessageDelta | None = None
    message: MessageDelta | None = None
    text: str | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    matched_stop: Any = None
    token_ids: list[Natural] | None = None
    prompt_token_ids: list[Natural] | None = None
    usage: Usage | None = None
    error: Any = None
    native_finish_reason: Any = None
    finish_reason_camel: Any = msgspec.field(default=None, name="finishReason")


class InputDetails(msgspec.Struct, gc=False):
    """Parts of the input tokens. OpenRouter sends `cache_write_tokens`."""

    cached_tokens: Natural | None = None
    cache_write_tokens: Natural | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    reasoning_tokens: Natural | None = None


class Usage(msgspec.Struct, gc=False):
    """Cumulative counts.

    Some servers send a part here instead of in the details: DeepSeek `prompt_cache_hit_tokens`, Moonshot
    `cached_tokens`, SGLang `reasoning_tokens`, LiteLLM `cache_creation_input_tokens` (Anthropic's cache
    writes). Some proxies use the names of newer APIs: `input_tokens`, `output_tokens`.
    """

    prompt_tokens: Natural | None = None
    completion_tokens: Natural | None = None
    total_tokens: Natural | None = None
    input_tokens: Natural | None = None
    output_tokens: Natural | None = None
    cached_tokens: Natural | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: Natural | None = None
    reasoning_tokens: Natural | None = None
    cache_creation_input_tokens: Natural | None = None


class Timings(msgspec.Struct, gc=False):
    """llama.cpp's cumulative counts: input tokens computed, input tokens from the cache, output tokens."""

    prompt_n: Natural | None = None
    cache_n: Natural | None = None
    predicted_n: Natural | None = None


class GroqExtra(msgspec.Struct, gc=False):
    """Groq's own object in the last chunk."""

    usage: Usage | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream. vLLM sends `prompt_token_ids` in the first event of a chat."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None
    timings: Timings | None = None
    x_groq: GroqExtra | None = None
    prompt_token_ids: list[Natural] | None = None


def plain_text(choice: Choice) -> str | None:
    """Returns the text of a chat choice that holds nothing but answer text, which may be empty.

    None for any other choice.
    """
    delta = choice.delta
    if (
        delta is not None
        and (type(delta.content) is str or delta.content is None)
        and choice.finish_reason is None
        and choice.logprobs is None
        and choice.token_ids is None
        and choice.text is None
        and choice.message is None
        and choice.usage is None
        and not (
            choice.error
            or choice.finish_reason_camel
            or delta.error
            or delta.reasoning_content
            or delta.reasoning
            or delta.reasoning_text
            or delta.thinking
            or delta.reasoning_details
            or delta.thinking_blocks
            or delta.refusal
            or delta.tool_calls
            or delta.function_call
            or delta.images
            or delta.audio
            or delta.type
            or delta.channel
            or delta.finish_reason
        )
    ):
        return delta.content or ""
    return None


decode_chunk = msgspec.json.Decoder(Chunk).decode
"""Decodes a payload. Raises ValueError if it is not a chunk, or not one in the usual types."""
