"""The JSON of OpenAI-compatible chunks as structs, shared by both APIs, and its decoder.

Any field may be missing or null. Unknown fields are skipped. If a field is not OpenAI's own, the docstring
names the servers that send it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

from tokengrpc.engines.upstream.counts import readable_counts

# The contract's range for counts and ids (int32). A larger value is treated as malformed.
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Function(msgspec.Struct, gc=False):
    """A piece of a function call. Some versions of Ollama sent `arguments` as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct, gc=False):
    """A piece of a tool call. Gemini sends no `index`."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class MessageDelta(msgspec.Struct, gc=False):
    """A `delta`, or the `message` of a response that is not streamed.

    DeepSeek, llama.cpp and SGLang send reasoning as `reasoning_content`; vLLM, Ollama and OpenRouter as
    `reasoning`; some servers send both. Mistral's `content` may be a list of parts.
    """

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


class LogprobEntry(msgspec.Struct, gc=False):
    """One token. llama.cpp sends its `id`, and may send null as the logprob of a probability of 0."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    id: _Natural | None = None
    top_logprobs: list[LogprobEntry] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """The lists of entries of the chat API, or the parallel lists of the completions API."""

    content: list[LogprobEntry] | None = None
    refusal: list[LogprobEntry] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class Choice(msgspec.Struct, gc=False):
    """A piece of one answer.

    vLLM reports the matched stop sequence or stop token id in `stop_reason`, SGLang in `matched_stop`.
    `token_ids` are the ids of this chunk. In completions, vLLM and SGLang send `prompt_token_ids` once.
    Moonshot sends `usage` here.
    """

    index: int | None = None
    delta: MessageDelta | None = None
    message: MessageDelta | None = None
    text: str | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    matched_stop: int | str | None = None
    token_ids: list[_Natural] | None = None
    prompt_token_ids: list[_Natural] | None = None
    usage: Usage | None = None


class InputDetails(msgspec.Struct, gc=False):
    """Parts of the input tokens. OpenRouter sends `cache_write_tokens`."""

    cached_tokens: _Natural | None = None
    cache_write_tokens: _Natural | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    reasoning_tokens: _Natural | None = None


class Usage(msgspec.Struct, gc=False):
    """Cumulative counts.

    Some servers send a part here instead of in the details: DeepSeek `prompt_cache_hit_tokens`, Moonshot
    `cached_tokens`, SGLang `reasoning_tokens`, LiteLLM `cache_creation_input_tokens` (Anthropic's cache
    writes). Some proxies use the names of newer APIs: `input_tokens`, `output_tokens`.
    """

    prompt_tokens: _Natural | None = None
    completion_tokens: _Natural | None = None
    total_tokens: _Natural | None = None
    input_tokens: _Natural | None = None
    output_tokens: _Natural | None = None
    cached_tokens: _Natural | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: _Natural | None = None
    reasoning_tokens: _Natural | None = None
    cache_creation_input_tokens: _Natural | None = None


class Timings(msgspec.Struct, gc=False):
    """llama.cpp's cumulative counts: input tokens computed, input tokens from the cache, output tokens."""

    prompt_n: _Natural | None = None
    cache_n: _Natural | None = None
    predicted_n: _Natural | None = None


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
    prompt_token_ids: list[_Natural] | None = None


def plain_text(choice: Choice) -> str | None:
    """Returns the text of a chat choice that holds nothing but answer text; None for any other choice."""
    delta = choice.delta
    if (
        delta is not None
        and type(delta.content) is str
        and not choice.index
        and choice.finish_reason is None
        and choice.logprobs is None
        and choice.token_ids is None
        and choice.text is None
        and not (
            delta.reasoning_content
            or delta.reasoning
            or delta.refusal
            or delta.tool_calls
            or delta.function_call
        )
    ):
        return delta.content
    return None


def join_parts(parts: list[Any]) -> tuple[str, str]:
    """Returns the text and the reasoning of a `content` that is a list (Mistral)."""
    text = reasoning = ""
    for part in parts:
        if isinstance(part, dict):
            text += _part_text(part)
            thinking = part.get("thinking")
            if isinstance(thinking, list):
                reasoning += "".join(_part_text(inner) for inner in thinking if isinstance(inner, dict))
    return text, reasoning


def _part_text(part: dict[str, Any]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""


_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(payload: bytes) -> Chunk:
    """Decodes a payload. Raises ValueError if it is not a chunk."""
    try:
        return _decode(payload)
    except (ValueError, RecursionError):
        return _decode_leniently(payload)


def _decode_leniently(payload: bytes) -> Chunk:
    """Decodes what servers send although msgspec rejects it: lone surrogates, NaN, counts such as 5.0."""
    try:
        # Given bytes, json.loads would also accept UTF-16 and UTF-32, and surrogates encoded as UTF-8.
        value = json.loads(payload.decode())
        _clean_usage(value)
        return msgspec.convert(value, Chunk, strict=False)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _clean_usage(chunk: object) -> None:
    """Removes what is no count from the usage, so that one bad part does not cost the others."""
    if not isinstance(chunk, dict):
        return
    choices = chunk.get("choices")
    places = (chunk, chunk.get("x_groq"), *(choices if isinstance(choices, list) else ()))
    for place in places:
        if isinstance(place, dict) and "usage" in place:
            place["usage"] = readable_counts(place["usage"])
    if "timings" in chunk:
        chunk["timings"] = readable_counts(chunk["timings"])
