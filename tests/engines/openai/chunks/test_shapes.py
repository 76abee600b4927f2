"""Answers in unusual shapes: nothing is lost, repeated or mistaken, and odd types do no harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.openai_payloads import (
    DONE,
    EVERYTHING,
    STOP,
    answer,
    calls,
    chat,
    choices,
    decode,
    end,
    finished,
    reasoning,
    text,
)
from tokengrpc.core.model import FinishReason
from tokengrpc.core.request import OutputOptions
from tokengrpc.errors import EngineAborted, EngineProtocolError

WHOLE = {"role": "assistant", "content": "the whole", "reasoning": "Hm", "refusal": "No"}


class TestWholeMessage:
    """A whole `message` that follows its pieces."""

    @pytest.mark.parametrize("delta", [None, {}, {"content": ""}])
    def test_everything_comes_once(self, delta: dict[str, Any] | None):
        """What has been streamed is not repeated."""
        call = {"id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}
        last = {"delta": delta, "message": WHOLE | {"tool_calls": [call]}, "finish_reason": "stop"}
        deltas = finished(
            chat({"reasoning": "H"}),
            chat({"reasoning": "m"}),
            text("the"),
            text(" whole"),
            chat({"refusal": "No"}),
            chat({"tool_calls": [call | {"index": 0}]}),
            choices(last),
            DONE,
        )
        assert (answer(deltas), reasoning(deltas)) == ("the whole", "Hm")
        assert "".join(delta.refusal for delta in deltas) == "No"
        assert calls(deltas) == [("c", "f", '{"a":1}')]

    @pytest.mark.parametrize(
        "before", [[], [chat({"reasoning": "Hm"})], [text("the")], [text("the"), text(" who")]]
    )
    def test_what_is_new_comes(self, before: list[bytes]):
        """What only the message has is taken."""
        calls_ = [{"function": {"name": name, "arguments": "{}"}} for name in ("f", "f", "g")]
        message = {"content": "the whole", "reasoning": "Hm", "tool_calls": calls_}
        streamed = chat({"tool_calls": [calls_[0] | {"index": 0}]})
        deltas = finished(*before, streamed, choices({"message": message, "finish_reason": "stop"}))
        assert (answer(deltas), reasoning(deltas)) == ("the whole", "Hm")
        assert [name for _, name, _ in calls(deltas)] == ["f", "f", "g"]

    @pytest.mark.parametrize("content", ["The whole.", "the", "the whole ", "other text", "\n\nthe  whole"])
    def test_a_message_that_differs(self, content: str):
        """The streamed text stands if the message differs from it, because readers have it."""
        deltas = finished(text("the"), text(" whole\n"), choices({"message": {"content": content}}), STOP)
        assert answer(deltas) == "the whole\n"

    def test_pieces_that_are_messages(self):
        """A server that sends its pieces as `message` does not repeat itself."""
        deltas = finished(*[choices({"message": {"content": part}}) for part in ("a", "a", "b")], STOP)
        assert answer(deltas) == "aab"


class TestShapes:
    """Reasoning, text and refusals in other shapes."""

    @pytest.mark.parametrize(
        "delta",
        [
            {"reasoning_content": {"text": "Hm"}},
            {"reasoning": {"content": "Hm"}},
            {"reasoning": [{"type": "summary_text", "text": "H"}, {"type": "summary_text", "text": "m"}]},
            {"reasoning_text": "Hm"},
            {"thinking": "Hm"},
            {"reasoning_details": [{"type": "reasoning.text", "text": "Hm", "format": "x", "index": 0}]},
            {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm"}]},
            {"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]},
            {"reasoning": {}, "reasoning_content": "", "reasoning_details": [{"text": "Hm"}]},
            {"thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "xyz"}]},
            {"content": [{"type": "reasoning", "text": "Hm"}]},
            {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}]},
            {"content": [{"type": "reasoning_text", "text": "Hm"}]},
            {"content": [{"type": "summary_text", "text": "Hm"}]},
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
            {"content": [{"text": "Hm", "thought": True}]},
            {"content": {"type": "reasoning", "text": "Hm"}},
            {"content": [{"type": "thinking", "thinking": "Hm"}], "reasoning": "Hm"},
        ],
        ids=str,
    )
    def test_reasoning(self, delta: dict[str, Any]):
        """Reasoning is reasoning in every shape, and comes once."""
        deltas = finished(chat(delta), text("42"), STOP)
        assert (reasoning(deltas), answer(deltas)) == ("Hm", "42")

    @pytest.mark.parametrize(
        "content",
        [
            ["4", "2"],
            {"type": "text", "text": "42"},
            [{"type": "output_text", "text": "42", "annotations": []}],
            [{"type": "text", "text": {"value": "42"}}],
            [{"type": "new", "text": "42"}, {"type": "image_url", "image_url": {"url": "x"}}, None],
        ],
        ids=str,
    )
    def test_text(self, content: object):
        """Text in parts, also in parts of an unknown type."""
        assert answer(finished(chat({"content": content}), STOP)) == "42"

    @pytest.mark.parametrize(
        "delta",
        [
            {"refusal": {"text": "No"}},
            {"refusal": [{"refusal": "No"}]},
            {"content": [{"type": "refusal", "refusal": "No"}]},
        ],
        ids=str,
    )
    def test_refusal(self, delta: dict[str, Any]):
        """A refusal in other shapes is no answer text."""
        deltas = finished(chat(delta), STOP)
        assert ("".join(delta.refusal for delta in deltas), answer(deltas)) == ("No", "")


class TestOddTypes:
    """A wrong type in a field that nobody asked for does no harm."""

    @pytest.mark.parametrize(
        "odd",
        [
            {"logprobs": 0.5},
            {"logprobs": {"content": "x"}},
            {"logprobs": {"content": [{"token": 5}]}},
            {"logprobs": []},
            {"stop_reason": ["x"]},
            {"stop_reason": {"type": "eos"}, "matched_stop": [1]},
            {"token_ids": "1 2"},
            {"token_ids": [-1]},
            {"token_ids": False},
            {"prompt_token_ids": {"a": 1}},
            {"index": "none"},
            {"text": False},
        ],
        ids=str,
    )
    @pytest.mark.parametrize(
        "more", [{}, {"refusal": False}, {"reasoning": False}, {"tool_calls": {}}], ids=str
    )
    def test_ignored(self, odd: dict[str, Any], more: dict[str, Any]):
        """The answer is complete, in chunks with text and in the last one."""
        deltas = finished(
            chat({"content": "a", **more}, **odd),
            chat({"content": "b", **more}, finish_reason="stop", **odd),
            DONE,
        )
        assert (answer(deltas), end(deltas)) == ("ab", (FinishReason.END, "stop"))

    @pytest.mark.parametrize(
        "chunk",
        [
            {"usage": 0.5},
            {"usage": "none"},
            {"timings": {"prompt_n": -1}},
            {"timings": []},
            {"prompt_token_ids": "x"},
            {"error": False},
            {"error": ""},
        ],
        ids=str,
    )
    def test_ignored_beside_the_choices(self, chunk: dict[str, Any]):
        """The same beside the choices."""
        payload = json.dumps({"choices": [{"delta": {"content": "a"}}], **chunk}).encode()
        assert answer(finished(payload, STOP)) == "a"

    @pytest.mark.parametrize(
        "odd", [{"bytes": "a"}, {"bytes": [0.5]}, {"id": -1}, {"top_logprobs": 5}], ids=str
    )
    def test_parts_of_logprobs(self, odd: dict[str, Any]):
        """Of requested logprobs, the parts that were not requested are ignored."""
        entry = {"token": "b", "logprob": -1.0, **odd}
        asked = OutputOptions(top_logprob_count=0)
        deltas = finished(text("b", logprobs={"content": [entry]}), STOP, output=asked)
        assert [(delta.text, delta.logprob) for delta in deltas[:-1]] == [("b", -1.0)]
        assert isinstance(
            decode(text("b", logprobs={"content": [entry]}), STOP, output=EVERYTHING)[1], EngineProtocolError
        )

    @pytest.mark.parametrize("logprobs", [0.5, {"content": "x"}, {"content": [{"token": 5}]}])
    def test_not_ignored_if_requested(self, logprobs: object):
        """Logprobs that were requested and cannot be read are a protocol error; so are token ids."""
        for odd in ({"logprobs": logprobs}, {"token_ids": "1"}):
            deltas, error = decode(text("a"), text("b", **odd), STOP, output=EVERYTHING)
            assert answer(deltas) == "a"
            assert isinstance(error, EngineProtocolError)

    @pytest.mark.parametrize(
        "delta",
        [
            {"content": 1.5},
            {"content": True},
            {"content": [True]},
            {"tool_calls": "f"},
            {"tool_calls": [{"function": "f"}]},
            {"tool_calls": [{"function": {"name": 17}}]},
        ],
        ids=str,
    )
    def test_output_is_never_ignored(self, delta: dict[str, Any]):
        """Output that cannot be read is a protocol error."""
        assert isinstance(decode(text("a"), chat(delta), STOP)[1], EngineProtocolError)

    def test_calls_in_other_shapes(self):
        """A single call instead of a list, calls by number, arguments that are no text."""
        function = {"name": "f", "arguments": []}
        for shape in (
            {"id": 5, "function": function},
            {"0": {"id": 5, "index": "0", "function": function}},
            [None, {"id": 5, "index": "x", "function": function}],
        ):
            assert calls(finished(chat({"tool_calls": shape}), STOP)) == [("5", "f", "{}")]


class TestOtherPlaces:
    """Output, errors and finish reasons where only few servers send them."""

    @pytest.mark.parametrize(
        "delta",
        [
            {"text": "the answer"},
            {"content": None, "text": "the answer"},
            {"content": "", "text": [{"type": "text", "text": "the answer"}]},
            {"content": "the answer", "text": "the answer"},
            {"content": [{"type": "markdown", "content": "the answer"}]},
            {"content": [{"type": "message_part", "value": "the "}, {"type": "x", "text": "answer"}]},
        ],
    )
    def test_text(self, delta: dict[str, Any]):
        """It is the answer, once."""
        assert answer(finished(chat(delta), STOP)) == "the answer"

    @pytest.mark.parametrize("kind", ["tool_result", "image_url", "citation", "reference", "input_audio"])
    def test_parts_that_are_no_answer(self, kind: str):
        """The content of other things is no text of the answer."""
        other = {"type": kind, "content": "other", "value": "other"}
        assert answer(finished(chat({"content": [other, {"type": "text", "text": "a"}]}), STOP)) == "a"

    @pytest.mark.parametrize(
        "error",
        [
            {"code": 0, "message": "success"},
            {"code": "200", "message": "OK", "type": None},
            {"message": None, "code": None},
            {"code": 0, "message": ""},
        ],
    )
    def test_an_error_that_is_none(self, error: dict[str, Any]):
        """Some proxies say in each chunk that all is well."""
        said = json.dumps({"choices": [{"delta": {"content": "a"}}], "error": error}).encode()
        done = json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}], "error": error}).encode()
        assert answer(finished(said, said, done)) == "aa"

    @pytest.mark.parametrize("place", ["choice", "delta"])
    @pytest.mark.parametrize("content", [None, "b"])
    def test_an_error_within_a_choice(self, place: str, content: str | None):
        """It is the end, whatever finish reason stands beside it. Output before it and beside it is kept."""
        error = {"message": "worker died", "code": "internal"}
        delta: dict[str, Any] = {"content": content}
        failed = (
            chat(delta | {"error": error}, finish_reason="stop")
            if place == "delta"
            else chat(delta, error=error, finish_reason="stop")
        )
        deltas, failure = decode(text("a"), failed, STOP)
        assert answer(deltas) == "a" + (content or "")
        assert isinstance(failure, EngineAborted)
        assert "worker died" in failure.message

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            ("FINISH_REASON_STOP", FinishReason.END),
            ("FinishReason.STOP", FinishReason.END),
            ("stopped", FinishReason.END),
            ("FINISH_REASON_MAX_TOKENS", FinishReason.MAX_TOKENS),
            ("FinishReason.TOOL_CALLS", FinishReason.TOOL_CALLS),
        ],
    )
    def test_finish_reasons_with_the_name_of_their_type(self, word: str, reason: FinishReason):
        """The name before the word says nothing."""
        finish = finished(text("a"), chat({}, finish_reason=word))[-1].finish
        assert finish is not None
        assert finish.reason is reason

    def test_an_answer_of_another_api_is_no_error_message(self):
        """Its output is not quoted as the engine's words, which may be logged."""
        native = b'{"model":"m","message":{"role":"assistant","content":"a secret"},"done":false}'
        _, failure = decode(native, native)
        assert failure is not None
        assert "secret" not in failure.message
