"""Deltas as the events of an OpenAI-compatible chat server, such as `openai_chunks.py` reads. No I/O.

vLLM's extensions are written as well, so that nothing gets lost on the way: token ids, and usage in each
chunk as long as all counts are known.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from tokengrpc.core.model import FinishReason
from tokengrpc.core.text import IncrementalDecoder
from tokengrpc.engines.upstream.finish_reasons import FINISH_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.core.model import Delta, EngineFinish, ToolCallFragment, TopLogprob, UsageReport

DONE = b"data: [DONE]\n\n"

OPAQUE = "tokengrpc_opaque"
"""A field that no chat server has: bytes that an engine wants back with its reasoning."""
BYTES = "tokengrpc_bytes"
"""Another: true where the engine told bytes alone, and the text was made of them here."""

# Words that the decoder takes for other reasons are replaced by those that it takes for this one.
_WORDS = {reason: word for word, reason in reversed(FINISH_REASONS.items())}
_WORDS |= {FinishReason.REFUSAL: "stop"}

_ODDITIES: dict[str, Any] = {
    "x_future": {"nested": [1, "two", None], "more": {"deep": True}},
    "service_tier": "default",
    "obfuscation": "x" * 16,
}
_ODD_EVENT = b": a comment\nevent: x_future\nid: 7\nretry: 1000\n\n"


class Renderer:
    """Writes one answer's events. With `usage` none no usage is told, with twice the last one twice."""

    def __init__(
        self, *, usage: str = "told", finish_reason: str = "", odd: bool = False, split: bool = False
    ) -> None:
        self._tells = usage != "none"
        self._twice = usage == "twice"
        self._word = finish_reason
        self._odd = odd
        self._split = split
        self._text = IncrementalDecoder()
        self._output: int | None = 0  # None once a count is not known
        self._told: dict[str, Any] = {}
        self.tokens = 0

    def events(self, delta: Delta) -> Iterator[tuple[bytes, int]]:
        """The events of one delta, and how many tokens are out after each. Its finish is for `ending`.

        A text that is split is two events, and its token is out with the second one.
        """
        choice, count = self._choice(delta), delta.count
        if delta.usage is not None:
            self._told |= _usage(delta.usage)
        if delta.prompt_ids is not None:
            yield self._chunk({"choices": [], "prompt_token_ids": delta.prompt_ids}), self.tokens
        if delta.opaque:
            yield _encode({OPAQUE: b64encode(delta.opaque).decode()}), self.tokens
        if not (count or choice["delta"] or choice.keys() - {"delta"}):
            return
        self._output = None if count is None or self._output is None else self._output + count
        before = self.tokens
        self.tokens += 1 if count is None else count
        if delta.text is None and delta.raw:
            yield self._event(choice, {BYTES: True}), self.tokens
            return
        halves = _halves(choice["delta"].get("content", "")) if self._split else ()
        if halves:
            first = choice["delta"] | {"content": halves[0]}
            yield self._event(choice | {"delta": first}), before
            choice = {"delta": {"content": halves[1]}}
        yield self._event(choice), self.tokens

    def ending(self, finish: EngineFinish, usage: UsageReport | None) -> Iterator[bytes]:
        """The finish, the usage and the end mark."""
        choice: dict[str, Any] = {"delta": {}, "finish_reason": self._word or _word(finish)}
        if finish.matched_stop:
            choice["stop_reason"] = finish.matched_stop
        yield self._chunk({"choices": [{"index": 0, **choice}]})
        told = self._told | (_usage(usage) if usage is not None else {})
        if self._output is None and (usage is None or usage.output is None):
            told.pop("completion_tokens", None)
        if self._tells and told:
            last = self._chunk({"choices": [], "usage": told})
            yield last
            if self._twice:
                yield last
        yield DONE

    def abort(self) -> Iterator[bytes]:
        """The engine gives up and says so, then says that all is done (vllm#57082)."""
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

    def _event(self, choice: dict[str, Any], more: dict[str, Any] | None = None) -> bytes:
        chunk = {**(more or {}), "choices": [{"index": 0, "finish_reason": None, **choice}]}
        if self._tells and self._output is not None:
            self._told = self._told | {"completion_tokens": self._output}
            chunk["usage"] = self._told
        return self._chunk(chunk)

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        envelope = {"id": "simulated", "object": "chat.completion.chunk", "created": 0, "model": "simulated"}
        if not self._odd:
            return _encode(envelope | chunk)
        return _ODD_EVENT + _encode(_ODDITIES | envelope | chunk)


def _encode(payload: dict[str, Any]) -> bytes:
    try:
        data = json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character is written as JSON's escape
        data = json.dumps(payload).encode()
    return b"data: " + data + b"\n\n"


def _halves(text: str) -> tuple[str, str] | tuple[()]:
    """A text cut within its first character that UTF-16 writes as two; nothing where it has none."""
    at = next((at for at, character in enumerate(text) if character > "\uffff"), None)
    if at is None:
        return ()
    number = ord(text[at]) - 0x10000
    return text[:at] + chr(0xD800 + (number >> 10)), chr(0xDC00 + (number & 0x3FF)) + text[at + 1 :]


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


def _usage(report: UsageReport) -> dict[str, Any]:
    told = {"prompt_tokens": report.input, "completion_tokens": report.output}
    inputs = {"cached_tokens": report.cached_input, "cache_write_tokens": report.cache_write_input}
    usage: dict[str, Any] = {name: count for name, count in told.items() if count is not None}
    if any(count is not None for count in inputs.values()):
        usage["prompt_tokens_details"] = inputs
    if report.reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": report.reasoning}
    return usage


def _word(finish: EngineFinish) -> str:
    """A word that is read as this reason: the engine's own where it is one."""
    known = FINISH_REASONS.get(finish.word.lower())
    if known is finish.reason or (known is FinishReason.END and finish.matched_stop):
        return finish.word
    return _WORDS.get(finish.reason, finish.word or "other")
