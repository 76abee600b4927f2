"""Events of Anthropic's Messages API: what becomes of each kind, and every way to end."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tokengrpc.core.model import Delta, EngineFinish, FinishReason, ToolCallFragment, UsageReport
from tokengrpc.engines.anthropic.events import EventDecoder
from tokengrpc.engines.upstream.sse import SSEDecoder
from tokengrpc.errors import (
    ContextLengthExceeded,
    EngineAborted,
    EngineAuthFailed,
    EngineBusy,
    EngineLost,
    EngineProtocolError,
    EngineTruncated,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
    TokenGrpcError,
)


def event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def begin(index: int = 0, kind: str = "text", **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def piece(kind: str, index: int = 0, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def text(words: str) -> bytes:
    return piece("text_delta", text=words)


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def finish(word: str = "end_turn", output: int = 3, **more: Any) -> bytes:
    delta = {"stop_reason": word, "stop_sequence": more.pop("stop_sequence", None)}
    return event("message_delta", delta=delta, usage={"output_tokens": output, **more})


START = event("message_start", message={"usage": {"input_tokens": 7, "output_tokens": 1}})
END = event("message_stop")


def decode(*payloads: bytes) -> tuple[list[Delta], TokenGrpcError | None]:
    """All deltas of a body that ended properly, and the failure."""
    decoder = EventDecoder("test")
    deltas = decoder.feed(payloads)
    if not decoder.ended:
        deltas += decoder.end([])
    assert decoder.ended
    return deltas, decoder.error


def finished(*payloads: bytes) -> list[Delta]:
    """All deltas of a body that ended well; the last one has the finish."""
    deltas, error = decode(*payloads)
    assert error is None
    assert [delta for delta in deltas if delta.finish] == deltas[-1:]
    return deltas


def answer(deltas: list[Delta]) -> str:
    return "".join(delta.text or "" for delta in deltas)


class TestOutput:
    """What the model says."""

    def test_text(self):
        """Pieces come as they are; their tokens are counted elsewhere."""
        deltas = finished(START, begin(text=""), text("Hel"), text("lo"), stop(), finish(), END)
        assert answer(deltas) == "Hello"
        assert [delta.count for delta in deltas if delta.text] == [None, None]

    def test_thinking(self):
        """Thinking is reasoning, and its signature is the bytes to send back."""
        deltas = finished(
            START,
            begin(kind="thinking", thinking="", signature=""),
            piece("thinking_delta", thinking="h"),
            piece("thinking_delta", thinking="m"),
            piece("signature_delta", signature="EqQB=="),
            stop(),
            finish(),
            END,
        )
        assert "".join(delta.reasoning for delta in deltas) == "hm"
        assert [delta.opaque for delta in deltas if delta.opaque] == [b"signature:EqQB=="]
        assert answer(deltas) == ""

    def test_redacted_thinking(self):
        """What nobody may read goes back as it came."""
        deltas = finished(START, begin(kind="redacted_thinking", data="xyz"), stop(), finish(), END)
        assert [delta.opaque for delta in deltas if delta.opaque] == [b"redacted:xyz"]

    def test_tool_calls(self):
        """Calls are numbered from 0, whatever their blocks' numbers; names come with the first piece."""
        deltas = finished(
            START,
            begin(),
            text("ok"),
            stop(),
            begin(1, "tool_use", id="a", name="f", input={}),
            piece("input_json_delta", 1, partial_json=""),
            piece("input_json_delta", 1, partial_json='{"x":'),
            piece("input_json_delta", 1, partial_json="1}"),
            stop(1),
            begin(2, "tool_use", id="b", name="g", input={}),
            stop(2),
            finish("tool_use"),
            END,
        )
        assert [fragment for delta in deltas for fragment in delta.fragments] == [
            ToolCallFragment(call_index=0, id="a", function_name="f"),
            ToolCallFragment(call_index=0, arguments='{"x":'),
            ToolCallFragment(call_index=0, arguments="1}"),
            ToolCallFragment(call_index=1, id="b", function_name="g"),
            ToolCallFragment(call_index=1, arguments="{}"),
        ]
        assert deltas[-1].finish == EngineFinish(reason=FinishReason.TOOL_CALLS, word="tool_use")

    def test_too_many_calls(self):
        """More than 1,024 are no answer."""
        calls = [begin(n, "tool_use", id=f"c{n}", name="f") for n in range(1025)]
        deltas, error = decode(START, *calls)
        assert len([delta for delta in deltas if delta.fragments]) == 1024
        assert isinstance(error, EngineProtocolError)

    @pytest.mark.parametrize(
        "other",
        [
            event("ping"),
            event("something_new", x=[1]),
            piece("citations_delta", citation={"type": "page_location"}),
            piece("something_new", x=1),
            begin(3, "server_tool_use", id="s", name="web_search", input={}),
            piece("input_json_delta", 3, partial_json='{"query"'),
            begin(4, "web_search_tool_result", content=[{"type": "web_search_result"}]),
            stop(4),
            b"",
        ],
        ids=lambda payload: payload[:60].decode(),
    )
    def test_what_is_skipped(self, other: bytes):
        """Pings, citations, the server's own tools, and kinds that are not known yet."""
        plain = [START, text("a"), text("b"), finish(), END]
        for place in range(1, 4):
            assert finished(*plain[:place], other, *plain[place:]) == finished(*plain)

    def test_half_a_surrogate_pair(self):
        """It is kept for whoever makes characters; words and names encode."""
        deltas = finished(START, b'{"type":"content_block_delta","delta":{"text":"\\ud83d"}}', finish(), END)
        assert answer(deltas) == "\ud83d"

    def test_an_answer_that_is_not_streamed(self):
        """A whole message is the same as its events."""
        content = [
            {"type": "thinking", "thinking": "hm", "signature": "S"},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        ]
        usage = {"input_tokens": 7, "output_tokens": 5}
        whole = event("message", content=content, stop_reason="tool_use", usage=usage)
        deltas = finished(whole)
        assert answer(deltas) == "Hello"
        assert "".join(delta.reasoning for delta in deltas) == "hm"
        assert [fragment.arguments for delta in deltas for fragment in delta.fragments] == ['{"x": 1}']
        assert deltas[-1].usage == UsageReport(input=7, output=5)


class TestUsage:
    """What it costs."""

    def test_the_input_has_its_cached_parts(self):
        """`input_tokens` leaves out what the cache gave or took."""
        usage = {"input_tokens": 2, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30}
        start = event("message_start", message={"usage": usage | {"output_tokens": 1}})
        told = UsageReport(input=132, cached_input=100, cache_write_input=30)
        deltas = finished(start, text("a"), finish(output=9), END)
        assert deltas[0] == Delta(count=0, usage=told)
        assert deltas[-1].usage == UsageReport(input=132, output=9, cached_input=100, cache_write_input=30)

    def test_several_are_cumulative(self):
        """Each replaces the one before; thinking is a part of the output."""
        deltas = finished(
            START,
            text("a"),
            event("message_delta", delta={}, usage={"output_tokens": 4}),
            text("b"),
            finish(output=9, input_tokens=8, output_tokens_details={"thinking_tokens": 5}),
            END,
        )
        assert [delta.usage.output for delta in deltas if delta.usage] == [None, 4, 9]
        assert deltas[-1].usage == UsageReport(input=8, output=9, reasoning=5)

    def test_after_the_stop_reason(self):
        """It is still read."""
        late = event("message_delta", delta={}, usage={"output_tokens": 12})
        assert finished(START, text("a"), finish(), late, END)[-1].usage == UsageReport(input=7, output=12)

    def test_none(self):
        """An answer without any is an answer."""
        bare = event("message_delta", delta={"stop_reason": "end_turn"})
        assert finished(text("a"), bare, END)[-1].usage == UsageReport()


class TestEnds:
    """How an output ends."""

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            ("end_turn", FinishReason.END),
            ("max_tokens", FinishReason.MAX_TOKENS),
            ("stop_sequence", FinishReason.STOP_SEQUENCE),
            ("tool_use", FinishReason.TOOL_CALLS),
            ("refusal", FinishReason.REFUSAL),
            ("model_context_window_exceeded", FinishReason.CONTEXT_LENGTH),
            ("pause_turn", FinishReason.OTHER),
            ("bored", FinishReason.OTHER),
        ],
    )
    def test_words(self, word: str, reason: FinishReason):
        """Each stop reason, with the word itself."""
        assert finished(START, finish(word), END)[-1].finish == EngineFinish(reason=reason, word=word)

    def test_the_stop_sequence(self):
        """It is told which one was met."""
        met = finished(START, finish("stop_sequence", stop_sequence="\n\n"), END)[-1].finish
        assert met == EngineFinish(
            reason=FinishReason.STOP_SEQUENCE, word="stop_sequence", matched_stop="\n\n"
        )

    def test_without_the_end_mark(self):
        """What is whole is whole: the stop reason has come."""
        assert finished(START, text("a"), finish())[-1].finish is not None
        for well, payloads in ((True, [START, text("a"), finish()]), (False, [START, text("a")])):
            decoder = EventDecoder("test")
            decoder.feed(payloads)
            decoder.cut(EngineLost("broke"))
            assert (decoder.error is None) is well

    @pytest.mark.parametrize("payloads", [(), (START,), (START, text("a")), (START, text("a"), stop(), END)])
    def test_without_a_stop_reason(self, payloads: tuple[bytes, ...]):
        """That is no proper end, with the end mark or without."""
        assert isinstance(decode(*payloads)[1], EngineTruncated)

    def test_nothing_follows_the_end(self):
        """After message_stop everything is ignored."""
        assert len(finished(finish(), END, text("late"), b"garbage")) == 1

    @pytest.mark.parametrize(
        ("kind", "before", "after"),
        [
            ("overloaded_error", EngineBusy, EngineAborted),
            ("rate_limit_error", EngineBusy, EngineAborted),
            ("api_error", EngineUnavailable, EngineAborted),
            ("timeout_error", EngineUnavailable, EngineAborted),
            ("invalid_request_error", InvalidRequest, EngineAborted),
            ("request_too_large", InvalidRequest, EngineAborted),
            ("authentication_error", EngineAuthFailed, EngineAborted),
            ("permission_error", EngineAuthFailed, EngineAborted),
            ("billing_error", EngineAuthFailed, EngineAborted),
            ("not_found_error", ModelNotFound, EngineAborted),
            ("something_new", EngineAborted, EngineAborted),
        ],
    )
    def test_an_error_inside_the_stream(self, kind: str, before: type, after: type):
        """Each type, before output and after it; what came before it is kept."""
        error = event("error", error={"type": kind, "message": "no"})
        assert type(decode(START, error)[1]) is before
        deltas, failure = decode(START, text("a"), error, END)
        assert answer(deltas) == "a"
        assert type(failure) is after

    def test_too_long(self):
        """An input that does not fit is told as such."""
        words = "prompt is too long: 208310 tokens > 200000 maximum"
        error = event("error", error={"type": "invalid_request_error", "message": words})
        assert isinstance(decode(START, error)[1], ContextLengthExceeded)

    def test_an_error_after_the_finish(self):
        """The output was complete."""
        finished(START, text("a"), finish(), event("error", error={"type": "overloaded_error"}))

    @pytest.mark.parametrize(
        "payload",
        [
            b"{",
            b"hello",
            b"[]",
            b"17",
            b'{"type":17}',
            b'{"type":"content_block_delta","delta":[]}',
            b'{"type":"content_block_delta","delta":{"text":17}}',
            b'{"type":"message_delta","usage":{"output_tokens":-1}}',
            b'{"type":"message_delta","usage":{"output_tokens":99999999999}}',
            b'{"type":' + b"[" * 100_000,
        ],
        ids=lambda payload: payload[:60].decode(),
    )
    def test_what_no_dialect_allows(self, payload: bytes):
        """It is a protocol error, and what came before it is kept."""
        deltas, error = decode(START, text("secret"), payload, text("b"))
        assert answer(deltas) == "secret"
        assert isinstance(error, EngineProtocolError)
        assert "secret" not in error.message


FIELDS = (
    *("type", "index", "message", "content_block", "delta", "usage", "content", "text", "thinking", "id"),
    *("signature", "data", "name", "input", "partial_json", "stop_reason", "input_tokens", "error"),
)
KINDS = (
    *("content_block_start", "content_block_delta", "content_block_stop", "message_start", "message_delta"),
    *("message_stop", "message", "error", "ping", "tool_use", "redacted_thinking", "text_delta"),
)


@examples(2000)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(KINDS),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_any_json_is_deltas_or_an_error(payloads: list[object]):
    """Nothing else is ever raised."""
    decode(START, *[json.dumps(payload).encode() for payload in payloads], finish(), END)


TRANSCRIPT = [
    ("message_start", START),
    ("content_block_start", begin(kind="thinking", thinking="")),
    ("content_block_delta", piece("thinking_delta", thinking="hmé")),
    ("content_block_delta", piece("signature_delta", signature="S")),
    ("content_block_stop", stop()),
    ("content_block_delta", piece("text_delta", 1, text="Hi 🦜")),
    ("ping", event("ping")),
    ("content_block_start", begin(2, "tool_use", id="a", name="f")),
    ("content_block_delta", piece("input_json_delta", 2, partial_json='{"a":1}')),
    ("content_block_stop", stop(2)),
    ("message_delta", finish("tool_use")),
    ("message_stop", END),
]


@examples(2000)
@given(st.lists(st.integers(min_value=0)), st.sampled_from([b"\n", b"\r\n"]), st.integers(0, len(TRANSCRIPT)))
def test_any_split_gives_the_same(cuts: list[int], newline: bytes, length: int):
    """Deltas and failure do not depend on where the bytes were cut."""
    part = TRANSCRIPT[:length]
    body = b"".join(b"event: %b\ndata: %b\n\n" % (kind.encode(), payload) for kind, payload in part)
    body = body.replace(b"\n", newline)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    events, decoder = SSEDecoder(), EventDecoder("test")
    deltas = [
        delta
        for start, end in itertools.pairwise(places)
        for delta in decoder.feed(events.feed(body[start:end]))
    ]
    if not decoder.ended:
        deltas += decoder.end(events.close())
    expected, error = decode(*[payload for _, payload in part])
    assert (deltas, type(decoder.error)) == (expected, type(error))
