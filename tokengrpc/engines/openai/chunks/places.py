"""Moves what servers send in unusual places of a chunk to where the struct of chunks has it.

It works on decoded JSON, and only on chunks that cannot be read otherwise, or in which nothing was found.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tokengrpc.engines.openai.schema import Choice, MessageDelta

# Other names of the fields of a choice and of a delta.
_CHOICE_NAMES = {
    "finishReason": "finish_reason",
    "finish": "finish_reason",
    "nativeFinishReason": "native_finish_reason",
}
_BODY_NAMES = {
    "finishReason": "finish_reason",
    "toolCalls": "tool_calls",
    "toolCall": "tool_calls",
    "tool_call": "tool_calls",
    "functionCall": "function_call",
    "reasoningContent": "reasoning_content",
    "reasoning_summary": "reasoning_text",
    "thought": "reasoning_text",
    "thoughts": "reasoning_text",
    "parts": "content",
    "output_text": "content",
}

# What some servers send beside the delta instead of in it.
_IN_DELTA = (
    *("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "toolCalls"),
    *("function_call", "images", "audio"),
)

_BODIES = ("delta", "message")
_CHOICE_KEYS = frozenset({"delta", "message", "text", "index", "finish_reason", "content"})

# Keys that a chunk without output has usually.
_USUAL_IN_CHOICE = frozenset({*Choice.__struct_encode_fields__, "index"})
_USUAL_IN_DELTA = frozenset({*MessageDelta.__struct_encode_fields__, "role"})


def has_unusual_places(payload: bytes) -> bool:
    """Returns whether a chunk has fields that its struct does not know, in a choice or its delta."""
    try:
        for choice in msgspec.json.decode(payload)["choices"]:
            if not choice.keys() <= _USUAL_IN_CHOICE:
                return True
            for name in _BODIES:
                body = choice.get(name)
                if body and not body.keys() <= _USUAL_IN_DELTA:
                    return True
    except (ValueError, RecursionError, AttributeError, TypeError):
        return True  # not even its types are usual
    return False


def restore_places(chunk: dict[str, Any]) -> None:
    """Moves the output and the finish reason of a decoded chunk to their usual places."""
    choices = chunk.get("choices")
    if isinstance(choices, dict):
        # A single choice instead of a list, or choices by their numbers.
        chunk["choices"] = choices = [choices] if choices.keys() & _CHOICE_KEYS else list(choices.values())
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            _restore_choice(choice)


def _restore_choice(choice: dict[str, Any]) -> None:
    _rename(choice, _CHOICE_NAMES)
    for name in _BODIES:
        body = choice.get(name)
        if body and isinstance(body, str | list):
            choice[name] = {"content": body}
    beside = {name: choice[name] for name in _IN_DELTA if choice.get(name)}
    if beside and isinstance(choice.get("delta") or {}, dict):
        choice["delta"] = beside | {k: v for k, v in (choice.get("delta") or {}).items() if v}
    for name in _BODIES:
        body = choice.get(name)
        if isinstance(body, dict):
            _restore_body(body)


def _restore_body(body: dict[str, Any]) -> None:
    _rename(body, _BODY_NAMES)
    for name in ("content", "text"):
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            body[name] = str(value)  # a model's "42", which a proxy took for a number
    call = body.get("function_call")
    if isinstance(call, list):
        body["tool_calls"] = body.get("tool_calls") or [{"function": item} for item in call]
        del body["function_call"]


def _rename(fields: dict[str, Any], names: dict[str, str]) -> None:
    for other, name in names.items():
        if fields.get(other) and not fields.get(name):
            fields[name] = fields.pop(other)


def finish_word(*values: object) -> str | None:
    """Returns the finish reason in the first of `values` that says something, or None.

    Raises ValueError for one that is no word: a number means something else on every server.
    """
    word: str | None = None
    for value in values:
        if isinstance(value, dict):  # SGLang's own API: {"type": "stop", …}
            word = finish_word(value.get("type"), value.get("reason"))
        elif isinstance(value, list):
            word = finish_word(*value)
        elif value is True:
            word = "stop"
        elif isinstance(value, str):
            word = value
        elif value:
            raise ValueError("the finish reason is no word")
        if word:
            return word
    return None
