"""Output and finish reasons in unusual places of a chunk: they are found, or the error says what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.openai_payloads import (
    DONE,
    STOP,
    answer,
    calls,
    chat,
    choices,
    counts,
    decode,
    end,
    finished,
    reasoning,
    text,
)
from tokengrpc.core.model import FinishReason, UsageReport
from tokengrpc.errors import EngineAborted, EngineProtocolError, EngineTruncated

CALL = {"id": "c", "function": {"name": "f", "arguments": "{}"}}


class TestOutput:
    """Text, reasoning and calls that are not in the delta, or in a delta of another type."""

    @pytest.mark.parametrize(
        "chunk",
        [
            {"choices": {"index": 0, "delta": {"content": "hi"}}},
            {"choices": {"0": {"delta": {"content": "hi"}}}},
            {"choices": [{"delta": "hi"}]},
            {"choices": [{"message": "hi"}]},
            {"choices": [{"delta": ["h", {"type": "text", "text": "i"}]}]},
            {"choices": [{"content": "hi"}]},
            {"choices": [{"content": "hi", "delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"content": "hi", "delta": None}]},
            {"choices": [{"delta": {"content": "", "parts": [{"text": "hi"}]}}]},
        ],
        ids=str,
    )
    def test_text(self, chunk: dict[str, Any]):
        """Text is found, and comes once, also beside the finish reason."""
        payload = json.dumps(chunk).encode()
        assert answer(finished(payload, payload, STOP)) == "hihi"
        if isinstance(chunk["choices"], list):
            last = choices(chunk["choices"][0] | {"finish_reason": "stop"})
            assert answer(finished(last)) == "hi"

    @pytest.mark.parametrize("number", [42, -7, 0, 123456789012345678901234567890])
    def test_numbers(self, number: int):
        """Whole numbers are text that a proxy has taken for numbers. Other values are errors."""
        shapes: list[Any] = [{"content": number}, {"content": [number]}, {"text": number}]
        for delta in shapes:
            assert answer(finished(chat(delta), STOP)) == str(number)

    @pytest.mark.parametrize("content", [1.5, True, [None, 1.5]])
    def test_values_that_are_no_text(self, content: object):
        """What is not plain is a protocol error."""
        assert isinstance(decode(chat({"content": content}), STOP)[1], EngineProtocolError)

    @pytest.mark.parametrize(
        "choice",
        [
            {"delta": {"reasoningContent": "Hm"}},
            {"delta": {"thought": "Hm"}},
            {"delta": {"content": "", "thoughts": "Hm"}},
            {"delta": {"reasoning_summary": "Hm"}},
            {"delta": {}, "reasoning_content": "Hm"},
            {"delta": {"content": "Hm", "type": "reasoning"}},
            {"delta": {"content": "Hm", "type": "thinking_delta"}},
            {"delta": {"content": "Hm", "channel": "analysis"}},
            {"delta": {"content": [{"type": "text", "text": "Hm"}], "type": "reasoning"}},
        ],
        ids=str,
    )
    def test_reasoning(self, choice: dict[str, Any]):
        """Reasoning is reasoning."""
        deltas = finished(choices(choice), text("42"), STOP)
        assert (reasoning(deltas), answer(deltas)) == ("Hm", "42")

    @pytest.mark.parametrize("mark", [{"type": "text"}, {"channel": "final"}, {"channel": "commentary"}])
    def test_text_that_says_so(self, mark: dict[str, Any]):
        """Text stays text where the delta says so."""
        assert answer(finished(chat({"content": "a", **mark}), chat({"content": "b", **mark}), STOP)) == "ab"

    @pytest.mark.parametrize(
        "choice",
        [
            {"delta": {"toolCalls": [CALL]}},
            {"delta": {"tool_call": CALL}},
            {"delta": {}, "tool_calls": [CALL]},
            {"delta": {"functionCall": CALL["function"]}},
            {"delta": {"function_call": [CALL["function"]]}},
        ],
        ids=str,
    )
    def test_calls(self, choice: dict[str, Any]):
        """Calls are calls."""
        (call,) = calls(finished(choices(choice), STOP))
        assert call[1:] == ("f", "{}")

    def test_usage_beside_output_elsewhere_counts_once(self):
        """A chunk with usage, whose output is in an unusual place, is counted once."""
        first = json.dumps({"choices": [{"content": "a"}], "usage": counts(3, 1)}).encode()
        second = json.dumps({"choices": [{"content": "b"}], "usage": counts(3, 2)}).encode()
        deltas = finished(first, second, STOP)
        assert [(delta.text, delta.count) for delta in deltas[:-1]] == [("a", 1), ("b", 1)]
        assert deltas[1].usage == UsageReport(input=3, output=2)


class TestFinish:
    """Finish reasons in other places and of other types."""

    @pytest.mark.parametrize(
        "choice",
        [
            {"delta": {}, "finishReason": "length"},
            {"delta": {}, "finish": "length"},
            {"delta": {"finish_reason": "length"}},
            {"delta": {"finishReason": "length"}},
            {"message": {"finish_reason": "length"}},
            {"delta": {}, "message": {"content": "a", "finish_reason": "length"}},
            {"delta": {}, "finish_reason": ["length"]},
            {"delta": {}, "finish_reason": {"reason": "length"}},
            {"delta": {"content": "", "finish_reason": {"type": "length"}}},
        ],
        ids=str,
    )
    def test_word(self, choice: dict[str, Any]):
        """The word is found."""
        deltas = finished(text("a"), choices(choice), DONE)
        assert (answer(deltas), end(deltas)) == ("a", (FinishReason.MAX_TOKENS, "length"))

    @pytest.mark.parametrize("place", ["finishReason", "finish_reason"])
    def test_word_beside_text(self, place: str):
        """Text beside the word is not lost, nor is the word."""
        deltas = finished(text("a"), choices({"delta": {"content": "b"}, place: "length"}), DONE)
        assert (answer(deltas), end(deltas)) == ("ab", (FinishReason.MAX_TOKENS, "length"))
        if place == "finish_reason":
            deltas = finished(text("a"), choices({"delta": {"content": "b", place: "length"}}), DONE)
            assert (answer(deltas), end(deltas)) == ("ab", (FinishReason.MAX_TOKENS, "length"))

    def test_true_is_an_end(self):
        """That the answer is finished is all it says."""
        assert end(finished(text("a"), chat({}, finish_reason=True), DONE))[0] is FinishReason.END

    @pytest.mark.parametrize("nothing", [0, False, [], {}, "", [None]])
    def test_what_says_nothing(self, nothing: object):
        """It is no end: another word counts, and an answer without one is cut off."""
        chunk = chat({"content": "a"}, finish_reason=nothing)
        assert end(finished(chunk, chat({}, finish_reason="length"), DONE))[0] is FinishReason.MAX_TOKENS
        assert isinstance(decode(chunk, DONE)[1], EngineTruncated)

    @pytest.mark.parametrize("odd", [1, 2.5, [3]])
    def test_numbers_are_errors(self, odd: object):
        """Every server numbers its reasons otherwise, and one of them means a failure."""
        deltas, error = decode(text("a"), chat({}, finish_reason=odd), DONE)
        assert answer(deltas) == "a"
        assert isinstance(error, EngineProtocolError)


class TestNativeFinish:
    """The word of the provider behind a proxy (OpenRouter)."""

    @pytest.mark.parametrize("word", ["stop", "tool_calls"])
    @pytest.mark.parametrize(
        ("native", "reason"),
        [
            ("MAX_TOKENS", FinishReason.MAX_TOKENS),
            ("max_output_tokens", FinishReason.MAX_TOKENS),
            ("SAFETY", FinishReason.CONTENT_FILTER),
            ("model_context_window_exceeded", FinishReason.CONTEXT_LENGTH),
        ],
    )
    def test_cut(self, word: str, native: str, reason: FinishReason):
        """It decides where it says that the answer is not whole."""
        finish = chat({}, finish_reason=word, native_finish_reason=native)
        assert end(finished(text("a"), finish, DONE)) == (reason, native)

    @pytest.mark.parametrize("native", ["error", "MALFORMED_FUNCTION_CALL", "abort", "timed_out"])
    def test_failure(self, native: str):
        """A failure is one, whatever the proxy makes of it."""
        deltas, error = decode(text("a"), chat({}, finish_reason="stop", native_finish_reason=native), DONE)
        assert answer(deltas) == "a"
        assert isinstance(error, EngineAborted)

    @pytest.mark.parametrize("native", ["stop", "STOP", "end_turn", "completed", "x", "tool_calls", 5, None])
    def test_whole(self, native: object):
        """Otherwise, the proxy's word counts."""
        finish = chat({}, finish_reason="stop", native_finish_reason=native)
        assert end(finished(text("a"), finish, DONE)) == (FinishReason.END, "stop")

    def test_the_stronger_of_both(self):
        """The proxy's own word is not weakened."""
        finish = chat({}, finish_reason="content_filter", native_finish_reason="MAX_TOKENS")
        assert end(finished(text("a"), finish, DONE)) == (FinishReason.CONTENT_FILTER, "content_filter")
