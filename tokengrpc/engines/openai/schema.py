"""The JSON of OpenAI-compatible chunks as structs, chat and completions in one, and how it is decoded.

Every field may be missing or null; fields that are not named here are skipped. Servers that use a field are
named where it is not OpenAI's own.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

# What the contract has for counts and ids; more than that is no server's honest answer.
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Function(msgspec.Struct, gc=False):
    """A piece of a function call; Ollama once sent `arguments` as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct, gc=False):
    """A piece of a tool call; Gemini sends no `index`."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Text(msgspec.Struct, gc=False):
    """A `delta`, or the `message` of a server that streams nothing.

    Reasoning is `reasoning_content` for DeepSeek, llama.cpp and SGLang, `reasoning` for vLLM, Ollama and
    OpenRouter; some send both. Mistral's `content` may be a list of parts.
    """

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


class LogprobEntry(msgspec.Struct, gc=False):
    """One token; llama.cpp tells its `id`, and may say null for a probability of 0."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    id: _Natural | None = None
    top_logprobs: list[LogprobEntry] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """Chat's lists of entries, or the parallel lists of completions."""

    content: list[LogprobEntry] | None = None
    refusal: list[LogprobEntry] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class Choice(msgspec.Struct, gc=False):
    """An answer. vLLM tells a met stop string or id in `stop_reason`, SGLang in `matched_stop`.

    `token_ids` are this chunk's; `prompt_token_ids` come once, in completions of vLLM and SGLang.
    """

    index: int | None = None
    delta: Text | None = None
    message: Text | None = None
    text: str | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    matched_stop: int | str | None = None
    token_ids: list[_Natural] | None = None
    prompt_token_ids: list[_Natural] | None = None


class InputDetails(msgspec.Struct, gc=False):
    """Parts of the input tokens; OpenRouter tells cache writes."""

    cached_tokens: _Natural | None = None
    cache_write_tokens: _Natural | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    reasoning_tokens: _Natural | None = None


class Usage(msgspec.Struct, gc=False):
    """Cumulative counts; DeepSeek tells cached tokens beside the rest, SGLang reasoning tokens.

    LiteLLM tells Anthropic's cache writes beside the rest.
    """

    prompt_tokens: _Natural | None = None
    completion_tokens: _Natural | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: _Natural | None = None
    reasoning_tokens: _Natural | None = None
    cache_creation_input_tokens: _Natural | None = None


class Timings(msgspec.Struct, gc=False):
    """llama.cpp's counts until now: of the input computed and from its cache, and of the output."""

    prompt_n: _Natural | None = None
    cache_n: _Natural | None = None
    predicted_n: _Natural | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream; `prompt_token_ids` come with the first one of vLLM's chats."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None
    timings: Timings | None = None
    prompt_token_ids: list[_Natural] | None = None


def plain_text(choice: Choice) -> str | None:
    """The text of a chat's choice that is a piece of the answer and nothing else; None for all others."""
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
    """Text and reasoning of a content that is a list (Mistral)."""
    text = reasoning = ""
    for part in parts:
        if isinstance(part, dict):
            text += _own_text(part)
            thinking = part.get("thinking")
            if isinstance(thinking, list):
                reasoning += "".join(_own_text(thought) for thought in thinking if isinstance(thought, dict))
    return text, reasoning


def _own_text(part: dict[str, Any]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""


_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(payload: bytes) -> Chunk:
    """A payload as a chunk. Raises ValueError when it is none."""
    try:
        return _decode(payload)
    except (ValueError, RecursionError):
        return _decode_leniently(payload)


def _decode_leniently(payload: bytes) -> Chunk:
    """Takes what msgspec does not and servers send: half surrogate pairs, NaN, counts such as 5.0."""
    try:
        # Bytes that json decodes itself may be any UTF, and half surrogate pairs as UTF-8 too.
        return msgspec.convert(json.loads(payload.decode()), Chunk, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
