"""Finish reasons of OpenAI-compatible servers: which one counts, and when it is the end."""

from __future__ import annotations

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
    sums,
    text,
)
from tokengrpc.core.model import FinishReason, UsageReport
from tokengrpc.core.request import OutputOptions
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.errors import EngineAborted, EngineLost, EngineProtocolError


class TestChoiceIndexes:
    """One answer is requested, so a choice's index says nothing."""

    @pytest.mark.parametrize("index", [1, 7, -1, None, "1", "block", 1.5, True, [1]])
    def test_output_at_any_index(self, index: object):
        """Text, reasoning, calls and finish are taken whatever the index is."""
        call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
        deltas = finished(
            chat({"reasoning": "Hm"}),
            chat({"content": "42"}, index=index),
            chat({"tool_calls": [call]}, index=index),
            chat({}, finish_reason="tool_calls", index=index),
            DONE,
        )
        assert (reasoning(deltas), answer(deltas)) == ("Hm", "42")
        assert calls(deltas) == [("c", "f", "{}")]
        assert end(deltas) == (FinishReason.TOOL_CALLS, "tool_calls")

    def test_several_choices_in_a_chunk(self):
        """Some proxies put text and calls of one answer into two choices of the same chunk."""
        call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
        deltas = finished(
            choices(
                {"index": 0, "delta": {"content": "Let me look."}, "finish_reason": "stop"},
                {"index": 1, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"},
            )
        )
        assert answer(deltas) == "Let me look."
        assert calls(deltas) == [("c", "f", "{}")]
        assert end(deltas)[0] is FinishReason.TOOL_CALLS

    def test_completions(self):
        """The completions API, too."""
        deltas = finished(choices({"index": 3, "text": "a"}), choices({"index": 1, "finish_reason": "stop"}))
        assert answer(deltas) == "a"


class TestEarlyFinish:
    """A finish reason that output follows is not the end."""

    @pytest.mark.parametrize("word", ["stop", "length", "tool_calls", "bored"])
    def test_all_output_is_taken(self, word: str):
        """Output after the finish reason is decoded, and the decoder waits for the end again."""
        decoder = ChunkDecoder("test", OutputOptions())
        deltas = decoder.feed([chat({"reasoning": "Hm"}, finish_reason=word)])
        assert decoder.complete
        deltas += decoder.feed([text("4")])
        assert not decoder.complete
        deltas += decoder.feed([text("2"), chat({}, finish_reason=word)])
        assert decoder.complete
        deltas += decoder.feed([sums(7, 3), DONE])
        assert decoder.error is None
        assert (reasoning(deltas), answer(deltas), end(deltas)[1]) == ("Hm", "42", word)
        assert deltas[-1].usage == UsageReport(input=7, output=3)

    @pytest.mark.parametrize(
        "output",
        [
            {"content": "42"},
            {"reasoning": "Hm"},
            {"refusal": "No"},
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]},
            {"tool_calls": [{"id": "c", "function": {"name": "f"}}]},
        ],
        ids=str,
    )
    def test_broken_after_more_output(self, output: dict[str, Any]):
        """If the connection breaks after such output, the answer is not complete."""
        decoder = ChunkDecoder("test", OutputOptions())
        decoder.feed([chat({"reasoning": "H"}, finish_reason="stop"), chat(output)])
        lost = EngineLost("broke")
        assert all(delta.finish is None for delta in decoder.cut(lost))
        assert decoder.error is lost

    @pytest.mark.parametrize("late", [b"{", b'{"error":{"message":"out of memory"}}'])
    def test_failures_after_more_output(self, late: bytes):
        """A failure after such output is not ignored."""
        deltas, error = decode(chat({"reasoning": "H"}, finish_reason="stop"), text("4"), late, STOP, DONE)
        assert answer(deltas) == "4"
        assert isinstance(error, EngineProtocolError | EngineAborted)

    def test_abort_after_more_output(self):
        """Neither is a finish reason that says that the engine aborted, also together with the output."""
        for last in ([text("2"), chat({}, finish_reason="error")], [text("2", finish_reason="error")]):
            deltas, error = decode(chat({"reasoning": "H"}, finish_reason="stop"), text("4"), *last, DONE)
            assert answer(deltas) == "42"
            assert isinstance(error, EngineAborted)

    def test_finish_in_every_chunk(self):
        """Some servers send a finish reason with each piece."""
        deltas = finished(*[text(piece, finish_reason="stop") for piece in "abc"])
        assert answer(deltas) == "abc"
        assert end(deltas) == (FinishReason.END, "stop")

    @pytest.mark.parametrize("word", ["null", "none", "FINISH_REASON_UNSPECIFIED"])
    def test_words_that_say_nothing(self, word: str):
        """A word for no reason completes nothing."""
        decoder = ChunkDecoder("test", OutputOptions())
        decoder.feed([text("a", finish_reason=word)])
        assert not decoder.complete
        assert end(finished(text("a", finish_reason=word), STOP)) == (FinishReason.END, "stop")


class TestSeveralFinishReasons:
    """The finish reason that says most stands."""

    @pytest.mark.parametrize(
        ("first", "second", "reason", "word"),
        [
            ("length", "stop", FinishReason.MAX_TOKENS, "length"),
            ("stop", "length", FinishReason.MAX_TOKENS, "length"),
            ("content_filter", "stop", FinishReason.CONTENT_FILTER, "content_filter"),
            ("tool_calls", "stop", FinishReason.TOOL_CALLS, "tool_calls"),
            ("tool_calls", "length", FinishReason.MAX_TOKENS, "length"),
            ("length", "content_filter", FinishReason.CONTENT_FILTER, "content_filter"),
            ("stop_sequence", "stop", FinishReason.STOP_SEQUENCE, "stop_sequence"),
            ("refusal", "end_turn", FinishReason.REFUSAL, "refusal"),
            ("bored", "stop", FinishReason.OTHER, "bored"),
            ("length", "max_tokens", FinishReason.MAX_TOKENS, "max_tokens"),
        ],
    )
    def test_the_strongest_stands(self, first: str, second: str, reason: FinishReason, word: str):
        """In either order, with usage between, after it, or with output between."""
        one, two = chat({}, finish_reason=first), chat({}, finish_reason=second, usage=counts(7, 3))
        assert end(finished(text("a"), one, two, DONE)) == (reason, word)
        assert end(finished(text("a"), one, text("b"), two, DONE)) == (reason, word)
        assert end(finished(text("a"), one, sums(7, 3), two))[0] is reason

    def test_a_matched_stop_stands(self):
        """A matched stop sequence is not replaced by a plain stop."""
        last = finished(chat({}, finish_reason="stop", stop_reason="##"), STOP)[-1].finish
        assert last is not None
        assert (last.reason, last.matched_stop) == (FinishReason.STOP_SEQUENCE, "##")


class TestFinishWords:
    """Words that no table lists belong to a family."""

    @pytest.mark.parametrize(
        "word",
        [
            *("network_error", "NETWORK_ERROR", "networkError", "server_error", "internal-error", "timeout"),
            *("timed_out", "failed", "FAILURE", "model_crashed", "engine_overloaded", "connection error"),
            *("interrupted", "MALFORMED_FUNCTION_CALL", "backend unavailable"),
            *("connection_closed", "evicted", "RATE_LIMITED", "server shutdown"),
        ],
    )
    def test_failures(self, word: str):
        """A word for a failure is a failure, before and after output."""
        for before in ([], [text("a")]):
            assert isinstance(decode(*before, chat({}, finish_reason=word), DONE)[1], EngineAborted)

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            ("sensitive", FinishReason.CONTENT_FILTER),
            ("SAFETY", FinishReason.CONTENT_FILTER),
            ("contentFilter", FinishReason.CONTENT_FILTER),
            ("content_filtered", FinishReason.CONTENT_FILTER),
            ("guardrail_intervened", FinishReason.CONTENT_FILTER),
            ("PROHIBITED_CONTENT", FinishReason.CONTENT_FILTER),
            ("content_policy_violation", FinishReason.CONTENT_FILTER),
            ("RECITATION", FinishReason.CONTENT_FILTER),
            ("MAX_TOKENS", FinishReason.MAX_TOKENS),
            ("maxTokens", FinishReason.MAX_TOKENS),
            ("max_output_tokens", FinishReason.MAX_TOKENS),
            ("max_length", FinishReason.MAX_TOKENS),
            ("context_window_exceeded", FinishReason.CONTEXT_LENGTH),
            ("max_context_length", FinishReason.CONTEXT_LENGTH),
            ("refused", FinishReason.REFUSAL),
            ("STOP", FinishReason.END),
            ("EndTurn", FinishReason.OTHER),
            ("end_of_text", FinishReason.END),
            ("stop_str", FinishReason.STOP_SEQUENCE),
            ("toolCalls", FinishReason.TOOL_CALLS),
            ("default", FinishReason.OTHER),
        ],
    )
    def test_families(self, word: str, reason: FinishReason):
        """Each family has its reason. The server's word is passed on."""
        assert end(finished(text("a", finish_reason=word))) == (reason, word)

    def test_word_in_an_object(self):
        """SGLang's own API says `{"type": "stop"}`. A reason of another type is a protocol error."""
        assert end(finished(text("a", finish_reason={"type": "length", "length": 5})))[1] == "length"
        assert isinstance(decode(text("a", finish_reason=17))[1], EngineProtocolError)
