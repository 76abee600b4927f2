"""Output that is no text: tool calls in the content, transcripts, images and sound."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.openai_payloads import (
    DONE,
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
from tokengrpc.errors import AnswerMismatch, EngineProtocolError

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,xyz"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "xyz", "format": "wav"}}
UNRELAYED = [
    {"content": "", "images": [IMAGE]},
    {"images": [IMAGE]},
    {"content": [IMAGE]},
    {"content": [SOUND]},
    {"content": [{"type": "output_image", "b64_json": "xyz"}]},
    {"content": [{"type": "file", "file": {"file_data": "xyz"}}]},
    {"content": [{"type": "hologram", "data": "xyz"}]},
    {"audio": {"id": "a", "data": "xyz"}},
    {"audio": "xyz"},
]


class TestUnrelayed:
    """Images, sound and the like."""

    @pytest.mark.parametrize("delta", UNRELAYED, ids=str)
    @pytest.mark.parametrize("place", ["delta", "message"])
    def test_an_answer_without_text_is_an_error(self, delta: dict[str, Any], place: str):
        """A caller must not take such an answer for an empty one. The error names the kind, not the data."""
        for finish in (STOP, chat({}, finish_reason="length"), chat({"content": ""}, finish_reason="x")):
            _, error = decode(choices({place: delta}), finish, DONE)
            assert isinstance(error, AnswerMismatch)
            assert "without text" in error.message
            assert "xyz" not in error.message
        _, error = decode(choices({place: delta, "finish_reason": "stop"}))
        assert isinstance(error, EngineProtocolError)

    def test_reasoning_is_no_answer(self):
        """Reasoning beside an image does not make it an answer."""
        deltas, error = decode(chat({"reasoning": "Hm"}), chat({"images": [IMAGE]}), STOP, DONE)
        assert reasoning(deltas) == "Hm"
        assert isinstance(error, AnswerMismatch)

    @pytest.mark.parametrize("delta", UNRELAYED, ids=str)
    def test_beside_text_one_warning(self, delta: dict[str, Any]):
        """Text is relayed, with one warning for the generation, whatever the number of chunks."""
        with capture_logs() as logs:
            deltas = finished(text("a"), *[chat(delta)] * 5, text("b"), STOP, DONE)
        assert (answer(deltas), end(deltas)) == ("ab", (FinishReason.END, "stop"))
        (entry,) = [log for log in logs if log["log_level"] == "warning"]
        assert "xyz" not in str(entry)

    def test_within_one_delta_with_text(self):
        """The same where text and image share a delta."""
        with capture_logs() as logs:
            deltas = finished(text("a"), chat({"content": "b", "images": [IMAGE]}), STOP)
        assert answer(deltas) == "ab"
        assert [log["output"] for log in logs] == ["image"]

    def test_beside_a_call_one_warning(self):
        """A call is an answer, too."""
        call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
        with capture_logs() as logs:
            deltas = finished(chat({"images": [IMAGE]}), chat({"tool_calls": [call]}), STOP, DONE)
        assert calls(deltas) == [("c", "f", "{}")]
        assert len(logs) == 1

    def test_a_filter_is_an_end(self):
        """An answer that a filter cut ends as such."""
        deltas = finished(chat({"images": [IMAGE]}), chat({}, finish_reason="content_filter"), DONE)
        assert end(deltas)[0] is FinishReason.CONTENT_FILTER

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "citation", "url": "x"},
            {"type": "tool_result", "content": "x"},
            {"type": "search_results", "results": ["x"]},
            {"type": "text", "text": "", "annotations": [1]},
            {"type": "hologram"},
        ],
        ids=str,
    )
    def test_what_is_no_output(self, part: dict[str, Any]):
        """It is ignored without a word, and an empty answer stays one."""
        with capture_logs() as logs:
            assert end(finished(chat({"content": [part]}), STOP))[0] is FinishReason.END
        assert logs == []


class TestTranscripts:
    """What a model says in sound, its transcript has as text: it is the answer."""

    def test_pieces(self):
        """OpenAI streams the id, the transcript and the data one after another."""
        pieces = [
            {"id": "a"},
            {"transcript": "Hel"},
            {"transcript": "lo"},
            {"data": "xyz"},
            {"expires_at": 5},
        ]
        with capture_logs() as logs:
            deltas = finished(*[chat({"audio": piece}) for piece in pieces], STOP, DONE)
        assert answer(deltas) == "Hello"
        assert [log["output"] for log in logs] == ["audio"]

    def test_whole(self):
        """The same in a whole message, or in a part of the content."""
        audio = {"id": "a", "data": "xyz", "transcript": "Hello"}
        assert answer(finished(choices({"message": {"audio": audio}, "finish_reason": "stop"}))) == "Hello"
        part = {"type": "output_audio", "transcript": "Hello"}
        assert answer(finished(chat({"content": [part]}), STOP)) == "Hello"

    def test_beside_text(self):
        """Text beside a transcript is the same text."""
        delta = {"content": "Hello", "audio": {"transcript": "Hello", "data": "xyz"}}
        assert answer(finished(chat(delta), STOP)) == "Hello"


class TestCallsInContent:
    """Parts of the content that are tool calls."""

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
            {"type": "tool_call", "id": "c", "name": "f", "arguments": '{"a": 1}'},
            {"type": "tool_call", "tool_call": {"id": "c", "name": "f", "args": {"a": 1}}},
            {"type": "function", "id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'},
            {"type": "tool-call", "toolCallId": "c", "toolName": "f", "input": {"a": 1}},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("place", ["delta", "message"])
    def test_calls(self, part: dict[str, Any], place: str):
        """They are relayed as calls, beside the text."""
        content = [{"type": "text", "text": "Look."}, part, part | {"id": "d", "call_id": "d"}]
        deltas = finished(choices({place: {"content": content}}), STOP)
        assert answer(deltas) == "Look."
        found = calls(deltas)
        assert [call[1:] for call in found] == [("f", '{"a": 1}')] * 2
        assert end(deltas)[0] is FinishReason.TOOL_CALLS

    @pytest.mark.parametrize("kind", ["server_tool_use", "web_search_tool_result", "mcp_tool_use"])
    def test_calls_of_the_server(self, kind: str):
        """What the server called itself is no call for the caller."""
        part = {"type": kind, "id": "c", "name": "f", "input": {}}
        deltas = finished(chat({"content": [part, {"type": "text", "text": "a"}]}), STOP)
        assert (calls(deltas), answer(deltas)) == ([], "a")
