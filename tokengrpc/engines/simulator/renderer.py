"""Encodes deltas as the events of an OpenAI-compatible chat server, which `openai/chunks.py` decodes. No I/O.

So that nothing is lost, the events also have vLLM's extensions: token ids, and usage in each chunk as long as
all counts are known.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from tokengrpc.core.model import FinishReason
from tokengrpc.core.text import IncrementalDecoder
from tokengrpc.engines.upstream.response.finish_reasons import FINISH_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.core.model import Delta, EngineFinish, ToolCallFragment, TopLogprob, UsageReport

DONE = b"data: [DONE]\n\n"

OPAQUE = "tokengrpc_opaque"
"""A private field: bytes that an engine requires back with its reasoning."""
CALL_OPAQUE = "tokengrpc_call_opaque"
"""A private field: a tool call's index, and bytes that an engine requires back with that call."""
BYTES = "tokengrpc_bytes"
"""A private field: true if the engine sent bytes alone, and the renderer decoded the text from them."""

# The finish reason to write for each FinishReason, if the decoder would map the engine's own to another one.
_WORDS = {reason: word for word, reason in reversed(FINISH_REASONS.items())}
_WORDS |= {FinishReason.REFUSAL: "stop"}

_UNKNOWN_FIELDS: dict[str, Any] = {
    "x_future": {"nested": [1, "two", None], "more": {"deep": True}},
    "service_tier": "default",
    "obfuscation": "x" * 16,
}
_UNKNOWN_EVENT = b": a comment\nevent: x_future\nid: 7\nretry: 1000\n\n"


class Renderer:
    """A writer of one response's events.

    With `usage` "none", no usage is reported. With "twice", the last usage is reported twice.
    """

    def __init__(
        self,
        *,
        usage: str = "told",
        finish_reason: str = "",
        unknown_fields: bool = False,
        split_characters: bool = False,
    ) -> None:
        self._reports_usage = usage != "none"
        self._repeats_usage = usage == "twice"
        self._finish_reason = finish_reason
        self._unknown_fields = unknown_fields
        self._split_characters = split_characters
        self._text = IncrementalDecoder()
        self._output_count: int | None = 0  # None once a count is unknown
        self._usage: dict[str, Any] = {}
        self._token_count = 0

    def events(self, delta: Delta) -> Iterator[tuple[bytes, int]]:
        """Yields the events of one delta, each with the number of tokens sent after it.

        The finish is left to `ending`. If a character is split, the text is sent in two events, and its token
        counts as sent after the second one.
        """
        yield from self._output_events(delta)
        for fragment in delta.fragments:
            if fragment.opaque:
                opaque = [fragment.call_index, b64encode(fragment.opaque).decode()]
                yield _encode({CALL_OPAQUE: opaque}), self._token_count

    def _output_events(self, delta: Delta) -> Iterator[tuple[bytes, int]]:
        choice, count = self._choice(delta), delta.count
        if delta.usage is not None:
            self._usage |= _usage_fields(delta.usage)
        if delta.prompt_ids is not None:
            yield self._chunk({"choices": [], "prompt_token_ids": delta.prompt_ids}), self._token_count
        if delta.opaque:
            yield _encode({OPAQUE: b64encode(delta.opaque).decode()}), self._token_count
        if not (count or choice["delta"] or choice.keys() - {"delta"}):
            return
        if count is None or self._output_count is None:
            self._output_count = None
        else:
            self._output_count += count
        count_before = self._token_count
        self._token_count += 1 if count is None else count
        if delta.text is None and delta.raw:
            yield self._event(choice, {BYTES: True}), self._token_count
            return
        halves = _halves(choice["delta"].get("content", "")) if self._split_characters else ()
        if halves:
            first = choice["delta"] | {"content": halves[0]}
            yield self._event(choice | {"delta": first}), count_before
            choice = {"delta": {"content": halves[1]}}
        yield self._event(choice), self._token_count

    def ending(self, finish: EngineFinish, usage: UsageReport | None) -> Iterator[bytes]:
        """Yields the events of the finish and the usage, and the end mark."""
        choice: dict[str, Any] = {"delta": {}, "finish_reason": self._finish_reason or _word(finish)}
        if finish.matched_stop:
            choice["stop_reason"] = finish.matched_stop
        yield self._chunk({"choices": [{"index": 0, **choice}]})
        fields = self._usage | (_usage_fields(usage) if usage is not None else {})
        if self._output_count is None and (usage is None or usage.output is None):
            fields.pop("completion_tokens", None)
        if self._reports_usage and fields:
            last = self._chunk({"choices": [], "usage": fields})
            yield last
            if self._repeats_usage:
                yield last
        yield DONE

    def abort(self) -> Iterator[bytes]:
        """Yields the finish reason "abort" and then the end mark, as vLLM does (vllm#57082)."""
        yield self._chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]})
        yield DONE

    def _choice(self, delta: Delta) -> dict[str, Any]:
        text = delta.text
        if text is None:
            text = self._text.push(delta.raw) if delta.raw else ""
        texts: dict[str, Any] = {
            "content": text,
            "reasoning_content": delta.reasoning,
            "refusal": delta.refusal,
            "tool_calls": [_fragment(fragment) for fragment in delta.fragments],
        }
        choice: dict[str, Any] = {"delta": {name: value for name, value in texts.items() if value}}
        if delta.id is not None:
            choice["token_ids"] = [delta.id]
        if delta.logprob is not None or delta.raw is not None:
            choice["logprobs"] = {"content": [_entry(delta, text)]}
        return choice

    def _event(self, choice: dict[str, Any], private_fields: dict[str, Any] | None = None) -> bytes:
        chunk = {**(private_fields or {}), "choices": [{"index": 0, "finish_reason": None, **choice}]}
        if self._reports_usage and self._output_count is not None:
            self._usage = self._usage | {"completion_tokens": self._output_count}
            chunk["usage"] = self._usage
        return self._chunk(chunk)

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        envelope = {"id": "simulated", "object": "chat.completion.chunk", "created": 0, "model": "simulated"}
        if not self._unknown_fields:
            return _encode(envelope | chunk)
        return _UNKNOWN_EVENT + _encode(_UNKNOWN_FIELDS | envelope | chunk)


def _encode(payload: dict[str, Any]) -> bytes:
    try:
        data = json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate is written as a JSON escape
        data = json.dumps(payload).encode()
    return b"data: " + data + b"\n\n"


def _halves(text: str) -> tuple[str, str] | tuple[()]:
    """Returns a text cut between the surrogates of its first non-BMP character; empty if it has none."""
    position = next((i for i, character in enumerate(text) if character > "\uffff"), None)
    if position is None:
        return ()
    offset = ord(text[position]) - 0x10000
    high, low = chr(0xD800 + (offset >> 10)), chr(0xDC00 + (offset & 0x3FF))
    return text[:position] + high, low + text[position + 1 :]


def _fragment(fragment: ToolCallFragment) -> dict[str, Any]:
    function = {"name": fragment.function_name, "arguments": fragment.arguments}
    piece: dict[str, Any] = {"index": fragment.call_index, "type": "function"}
    if fragment.id:
        piece["id"] = fragment.id
    return piece | {"function": {key: value for key, value in function.items() if value}}


def _entry(delta: Delta, text: str) -> dict[str, Any]:
    return {
        "token": text if delta.raw is None else delta.raw.decode("utf-8", "replace"),
        "logprob": delta.logprob,
        "bytes": None if delta.raw is None else list(delta.raw),
        "id": delta.id,
        "top_logprobs": [_top(other) for other in delta.top_logprobs],
    }


def _top(other: TopLogprob) -> dict[str, Any]:
    raw = None if other.raw is None else list(other.raw)
    return {"token": other.text, "logprob": other.logprob, "bytes": raw, "id": other.id}


def _usage_fields(report: UsageReport) -> dict[str, Any]:
    totals = {"prompt_tokens": report.input, "completion_tokens": report.output}
    input_details = {"cached_tokens": report.cached_input, "cache_write_tokens": report.cache_write_input}
    fields: dict[str, Any] = {name: count for name, count in totals.items() if count is not None}
    if any(count is not None for count in input_details.values()):
        fields["prompt_tokens_details"] = input_details
    if report.reasoning is not None:
        fields["completion_tokens_details"] = {"reasoning_tokens": report.reasoning}
    return fields


def _word(finish: EngineFinish) -> str:
    """Returns a finish reason that the decoder maps to this finish: the engine's own if possible."""
    known = FINISH_REASONS.get(finish.word.lower())
    if known is finish.reason or (known is FinishReason.END and finish.matched_stop):
        return finish.word
    return _WORDS.get(finish.reason, finish.word or "other")
