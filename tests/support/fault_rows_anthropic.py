"""Faults that only Anthropic's Messages API, or a proxy before it, can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.fault_rows import END, TEXT, Fault
from tests.support.script_steps import Bytes, Chunk, Done, Finish, UsageChunk
from tests.support.wire_dialects import event

if TYPE_CHECKING:
    from tests.support.fault_rows import Steps

OTHERS = frozenset({"chat", "completions"})
HELLO = {"type": "text", "text": "Hello"}
WHOLE = {"content": [HELLO], "stop_reason": "end_turn", "usage": {"input_tokens": 7}}


def _ends(word: str) -> Steps:
    return lambda _: (TEXT, Finish(word), UsageChunk(), Done())


def _only(**fields: Any) -> Fault:
    return Fault(excluded_apis=OTHERS, **fields)


ANTHROPIC = {
    "answer paused": _only(steps=_ends("pause_turn"), reason="ENGINE_ABORTED"),
    "answer refused": _only(steps=_ends("refusal"), finish="REFUSAL"),
    "end of the model's context": _only(
        steps=_ends("model_context_window_exceeded"), finish="CONTEXT_LENGTH"
    ),
    "whole answer in the first event": _only(
        steps=lambda _: (Chunk({"type": "message_start", "message": WHOLE}, ("Hello",)), Done())
    ),
    "events of text completions": _only(
        steps=lambda _: (
            Chunk({"type": "completion", "completion": "Hello", "stop_reason": None}, ("Hello",)),
            Bytes(event({"type": "completion", "completion": "", "stop_reason": "stop_sequence"})),
        ),
        finish="STOP_SEQUENCE",
    ),
    "chunks of OpenAI's API": _only(
        steps=lambda _: (Bytes(event({"choices": [{"index": 0, "delta": {"content": "Hello"}}]})), *END),
        reason="ENGINE_PROTOCOL_ERROR",
    ),
}
