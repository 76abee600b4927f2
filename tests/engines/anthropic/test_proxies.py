"""Responses of proxies and relatives of Anthropic's Messages API: output in places where the API has none."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from tests.engines.anthropic.test_events import (
    END,
    START,
    block_delta,
    decode,
    event,
    finish,
    start,
    stop,
    text,
)
from tokengrpc.core.breaker import AttemptOutcome, classify_outcome
from tokengrpc.core.model import Delta, EngineFinish, FinishReason, UsageReport
from tokengrpc.engines.anthropic.events import EventDecoder
from tokengrpc.errors import (
    AnswerMismatch,
    AnswerPaused,
    EngineAborted,
    EngineLost,
    EngineProtocolError,
)

HI = {"type": "text", "text": "hi"}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "S"}
CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}


def message_start(*content: Any, **fields: Any) -> bytes:
    return event("message_start", message={"content": list(content), "usage": {"input_tokens": 7}, **fields})


def told(deltas: list[Delta]) -> tuple[str, str, str]:
    """Returns the text, the reasoning and the arguments of calls."""
    arguments = "".join(part.arguments for delta in deltas for part in delta.fragments)
    texts = ("".join(delta.text or "" for delta in deltas), "".join(delta.reasoning for delta in deltas))
    return (*texts, arguments)


def told_of(*payloads: bytes) -> tuple[str, str, str]:
    """Returns what a response that ends well has told."""
    deltas, error = decode(*payloads)
    assert error is None
    assert [delta for delta in deltas if delta.finish] == deltas[-1:]
    return told(deltas)


class TestWholeContent:
    """Content of the whole message in its first or last event."""

    @pytest.mark.parametrize(
        "payloads",
        [
            (message_start(HI, stop_reason="end_turn"), END),
            (message_start(HI), finish(), END),
            (message_start(HI), finish()),
            (message_start(HI), event("message_stop", stop_reason="end_turn")),
            (START, event("message_stop", message={"content": [HI], "stop_reason": "end_turn"})),
            (START, text("h"), event("message_stop", message={"content": [HI], "stop_reason": "end_turn"})),
            (START, text("h"), text("i"), finish(), event("message_stop", message={"content": [HI]})),
            (message_start(HI), start(text=""), text("h"), text("i"), stop(), finish(), END),
            (message_start(HI), start(text="hi"), stop(), finish(), END),
            (message_start({"type": "text", "text": "h"}), text("i"), finish(), END),
            (message_start({"type": "text", "text": "h"}), text("hi"), finish(), END),
            (event("message_start", message={"content": "hi", "stop_reason": "end_turn"}), END),
            (event("message", content="hi", stop_reason="end_turn"),),
            (message_start(HI, HI | {"text": ""}), event("ping"), finish(), END),
        ],
        ids=lambda payloads: b" ".join(payloads)[:120].decode(),
    )
    def test_text_comes_once(self, payloads: tuple[bytes, ...]):
        """Text in `message_start` or `message_stop` is relayed, and what events repeat comes once."""
        assert told_of(*payloads) == ("hi", "", "")

    @pytest.mark.parametrize(
        "between",
        [
            (),
            (
                start(kind="thinking", thinking=""),
                block_delta("thinking_delta", thinking="hm"),
                stop(),
                start(1),
                block_delta("text_delta", 1, text="hi"),
                start(2, "tool_use", id="a", name="f"),
                block_delta("input_json_delta", 2, partial_json='{"x": 1}'),
                stop(2),
            ),
        ],
    )
    def test_all_kinds_of_blocks(self, between: tuple[bytes, ...]):
        """Thinking and calls too."""
        told = told_of(message_start(THOUGHT, HI, CALL), *between, finish("tool_use"), END)
        assert told == ("hi", "hm", '{"x": 1}')

    def test_stop_reason_of_the_start_is_the_last_resort(self):
        """A stop reason in `message_start` counts if no other comes."""
        for later, reason in ((END,), "max_tokens"), ((finish("end_turn"), END), "end_turn"):
            deltas, error = decode(message_start(HI, stop_reason="max_tokens"), *later)
            assert error is None
            finished = deltas[-1].finish
            assert finished is not None
            assert finished.word == reason

    def test_a_break_after_the_start(self):
        """What `message_start` had is delivered before the error of a broken connection."""
        decoder = EventDecoder("test")
        deltas = decoder.feed([message_start(HI)])
        deltas += decoder.cut(EngineLost("broke"))
        assert told(deltas) == ("hi", "", "")
        assert isinstance(decoder.error, EngineLost)

    def test_usage_of_a_whole_start(self):
        """With a stop reason, the output count of `message_start` means something."""
        start_ = event(
            "message_start",
            message={
                "content": [HI],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "output_tokens": 4},
            },
        )
        assert decode(start_, END)[0][-1].usage == UsageReport(input=3, output=4)

    def test_stop_reason_beside_the_delta(self):
        """A stop reason in the event itself counts as one in its delta."""
        assert told_of(START, text("hi"), event("message_delta", stop_reason="end_turn"), END)[0] == "hi"


class TestLegacyCompletions:
    """The events of the API of text completions."""

    @pytest.mark.parametrize("kind", [{"type": "completion"}, {}])
    @pytest.mark.parametrize(
        ("end", "finish_"),
        [
            ({"stop_reason": "max_tokens"}, EngineFinish(reason=FinishReason.MAX_TOKENS, word="max_tokens")),
            (
                {"stop_reason": "stop_sequence", "stop": "\n\nHuman:"},
                EngineFinish(reason=FinishReason.END, word="end_turn"),
            ),
            (
                {"stop_reason": "stop_sequence", "stop": "###"},
                EngineFinish(reason=FinishReason.STOP_SEQUENCE, word="stop_sequence", matched_stop="###"),
            ),
        ],
    )
    def test_text_and_end(self, kind: dict[str, Any], end: dict[str, Any], finish_: EngineFinish):
        """Their text is the answer, and their stop reason its end, also without a type."""
        payloads = [{"completion": " h", "stop_reason": None}, {"completion": "i", **end}]
        deltas, error = decode(*[json.dumps(kind | payload).encode() for payload in payloads])
        assert error is None
        assert told(deltas)[0] == " hi"
        assert deltas[-1].finish == finish_


class TestPauses:
    """Stop reasons of an answer that another request would complete."""

    @pytest.mark.parametrize("word", ["pause_turn", "compaction"])
    @pytest.mark.parametrize("output", [(), (text("a"),)])
    def test_it_is_no_end(self, word: str, output: tuple[bytes, ...]):
        """The text and the usage stand; the outcome is no success, and says nothing against the engine."""
        deltas, error = decode(START, *output, finish(word, output=5), END)
        assert told(deltas)[0] == "a" * len(output)
        assert isinstance(error, AnswerPaused)
        assert word in error.message
        assert [delta.usage.output for delta in deltas if delta.usage][-1] == 5
        assert not any(delta.finish for delta in deltas)
        assert classify_outcome(error) is AttemptOutcome.NEUTRAL

    def test_other_failures_count_against_the_engine(self):
        """An engine that aborts by itself is another matter."""
        assert classify_outcome(EngineAborted("x")) is AttemptOutcome.FAILURE


class TestContentWithoutAPlace:
    """Blocks of images, documents and the API's own tools."""

    BLOCKS = (
        start(0, "image", source={"type": "base64", "data": "AAAA"}),
        start(0, "document", source={"data": "x"}),
        start(0, "server_tool_use", id="s", name="web_search", input={}),
        start(0, "web_search_tool_result", content=[{"type": "web_search_result"}]),
        start(0, "something_new", x=1),
    )

    @pytest.mark.parametrize("block", BLOCKS, ids=lambda payload: payload[60:110].decode())
    def test_alone_it_is_an_error(self, block: bytes):
        """An answer of nothing else must not end well."""
        deltas, error = decode(START, block, stop(), finish(), END)
        assert isinstance(error, AnswerMismatch)
        assert json.loads(block)["content_block"]["type"] in error.message
        assert not any(delta.finish for delta in deltas)

    @pytest.mark.parametrize("word", ["refusal", "max_tokens"])
    def test_a_stop_reason_that_says_more_stands(self, word: str):
        """A refusal and a limit say themselves that there is no answer."""
        assert told_of(START, self.BLOCKS[2], stop(), finish(word), END) == ("", "", "")

    def test_beside_text_it_is_logged_once(self):
        """Beside an answer, one line per generation names what was left out."""
        with structlog.testing.capture_logs() as lines:
            answer = block_delta("text_delta", 1, text="hi")
            told = told_of(START, *self.BLOCKS[:2], *self.BLOCKS[:3], start(1), answer, finish(), END)
        assert told[0] == "hi"
        lines = [line for line in lines if "left out" in line["event"]]
        assert [line["types"] for line in lines] == ["server_tool_use"]

    def test_an_unknown_block_with_text_is_text(self):
        """What can be read as text is not left out."""
        with structlog.testing.capture_logs() as lines:
            told = told_of(
                START, start(0, "markdown"), block_delta("markdown_delta", text="hi"), finish(), END
            )
        assert (told[0], lines) == ("hi", [])


class TestOtherAPIs:
    """Payloads of other APIs, when the kind or the address is wrong."""

    @pytest.mark.parametrize(
        ("payload", "api"),
        [
            ({"choices": [{"index": 0, "delta": {"content": "hi"}}]}, "OpenAI's chat"),
            ({"object": "chat.completion", "choices": [{"message": {"content": "hi"}}]}, "OpenAI's chat"),
            ({"type": "response.output_text.delta", "delta": "hi"}, "Responses"),
            ({"type": "response.created", "response": {}}, "Responses"),
            ({"model": "m", "message": {"content": "hi"}, "done": False}, "Ollama"),
            ({"candidates": [{"content": {"parts": [{"text": "hi"}]}}]}, "Gemini"),
            ({"token": {"text": "hi"}, "generated_text": None}, "TGI"),
            ({"content": "hi", "stop": False}, "llama.cpp"),
            ({"contentBlockDelta": {"delta": {"text": "hi"}}}, "Bedrock"),
        ],
    )
    def test_the_error_names_the_api(self, payload: dict[str, Any], api: str):
        """The error says which API it looks like, and what to check."""
        _, error = decode(json.dumps(payload).encode())
        assert isinstance(error, EngineProtocolError)
        assert api in error.message
        assert "check its kind and base_url" in error.message

    def test_after_output_they_are_skipped(self):
        """A foreign object beside the answer does no harm."""
        chunk = b'{"choices":[],"usage":{"total_tokens":1}}'
        assert told_of(START, text("hi"), chunk, finish(), END)[0] == "hi"
