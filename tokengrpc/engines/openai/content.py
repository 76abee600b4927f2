"""Text, reasoning and refusals in the shapes in which servers send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokengrpc.engines.openai.schema import MessageDelta

# Marks in the `type` of a part that holds reasoning: "reasoning_text", "thinking", "thought", "summary_text".
_REASONING_MARKS = ("reason", "think", "thought", "summary")

# Marks in the `type` of a part that is no answer text, unless it has a `text`.
_OTHER_MARKS = (
    "tool",
    "image",
    "audio",
    "video",
    "file",
    "document",
    "cit",
    "reference",
    "search",
    "code_inter",
)

# Keys under which a part holds text. The first that is not empty counts, because several hold the same.
_TEXT_KEYS = ("text", "content", "value")
_REASONING_KEYS = ("text", "thinking", "reasoning_content", "reasoning", "content", "summary", "value")
_REFUSAL_KEYS = ("refusal", "text", "content", "value")


# Text, reasoning and refusal of a message or of a piece of it.
Content = tuple[str, str, str]


def read_content(body: MessageDelta) -> Content:
    """Returns text, reasoning and refusal. Raises ValueError for a part that cannot be read."""
    text = body.content or body.text or ""
    reasoning = _read_reasoning(body)
    refusal = body.refusal or ""
    if not isinstance(refusal, str):
        refusal = _flatten(refusal, _REFUSAL_KEYS)
    if isinstance(text, str):
        return text, reasoning, refusal
    text, more_reasoning, more_refusal = _join_parts(text if isinstance(text, list) else [text])
    if more_reasoning != reasoning:
        reasoning += more_reasoning
    return text, reasoning, refusal + more_refusal


def _read_reasoning(body: MessageDelta) -> str:
    """Returns the reasoning. A server that fills several of the fields sends the same in each."""
    usual = body.reasoning_content or body.reasoning
    if usual and isinstance(usual, str):
        return usual
    for value in (
        body.reasoning_content,
        body.reasoning,
        body.reasoning_text,
        body.thinking,
        body.reasoning_details,
        body.thinking_blocks,
    ):
        if value:
            text = value if isinstance(value, str) else _flatten(value, _REASONING_KEYS)
            if text:
                return text
    return ""


def _join_parts(parts: list[Any]) -> Content:
    text = reasoning = refusal = ""
    for part in parts:
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict):
            kind = str(part.get("type") or "").lower()
            if part.get("thought") is True or any(mark in kind for mark in _REASONING_MARKS):
                reasoning += _flatten(part, _REASONING_KEYS)
            elif "refusal" in kind:
                refusal += _flatten(part, _REFUSAL_KEYS)
            else:
                other = any(mark in kind for mark in _OTHER_MARKS)
                text += _flatten(part, ("text",) if other else _TEXT_KEYS)
        elif part is not None:
            raise ValueError("a part of the content is neither text nor an object")
    return text, reasoning, refusal


def _flatten(value: object, keys: tuple[str, ...]) -> str:
    """Returns the text of a string, of a list of parts, or under the first of `keys` that has text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_flatten(item, keys) for item in value)
    if isinstance(value, dict):
        for key in keys:
            text = _flatten(value.get(key), keys)
            if text:
                return text
    return ""
