"""Decoding events of Anthropic's Messages API: each type of event, and every kind of end."""

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
from tokengrpc.engines.upstream.response.sse import SSEDecoder
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


def start(index: int = 0, kind: str = "text", **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def block_delta(kind: str, index: int = 0, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def text(content: str) -> bytes:
    return block_delta("text_delta", text=content)


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def finish(word: str = "end_turn", output: int = 3, **more: Any) -> bytes:
    delta = {"stop_reason": word, "stop_sequence": more.pop("stop_sequence", None)}
    return event("message_delta", delta=delta, usage={"output_tokens": output, **more})


START = event("message_start", message={"usage": {"input_tokens": 7, "output_tokens": 1}})
END = event("message_stop")


def decode(*payloads: bytes) -> tuple[list[Delta], TokenGrpcError | None]:
    """Decodes a body whose connection did not break. Returns all deltas and the error."""
    decoder = EventDecoder("test")
    deltas = decoder.feed(payloads)
    if not decoder.ended:
        deltas += decoder.end([])
    assert decoder.ended
    return deltas, decoder.error


def finished(*payloads: bytes) -> list[Delta]:
    """Decodes a complete response. Returns all deltas; only the last one has the finish."""
    deltas, error = decode(*payloads)
    assert error is None
    assert [delta for delta in deltas if delta.finish] == deltas[-1:]
    return deltas


def answer(deltas: list[Delta]) -> str:
    return "".join(delta.text or "" for delta in deltas)


class TestOutput:
    """Output of the model."""

    def test_text(self):
        """Each piece of text becomes a delta without a count. The core counts the tokens."""
        deltas = finished(START, start(text=""), text("Hel"), text("lo"), stop(), finish(), END)
        assert answer(deltas) == "Hello"
        assert [delta.count for delta in deltas if delta.text] == [None, None]

    def test_thinking(self):
        """Thinking becomes reasoning. Its signature becomes the opaque bytes."""
        deltas = finished(
            START,
            start(kind="thinking", thinking="", signature=""),
            block_delta("thinking_delta", thinking="h"),
            block_delta("thinking_delta", thinking="m"),
            block_delta("signature_delta", signature="EqQB=="),
            stop(),
            finish(),
            END,
        )
        assert "".join(delta.reasoning for delta in deltas) == "hm"
        assert [delta.opaque for delta in deltas if delta.opaque] == [b"signature:EqQB=="]
        assert answer(deltas) == ""

    def test_redacted_thinking(self):
        """The data of redacted thinking becomes the opaque bytes."""
        deltas = finished(START, start(kind="redacted_thinking", data="xyz"), stop(), finish(), END)
        assert [delta.opaque for delta in deltas if delta.opaque] == [b"redacted:xyz"]

    def test_tool_calls(self):
        """Calls are numbered from 0, independently of their blocks. The first fragment has id and name."""
        deltas = finished(
            START,
            start(),
            text("ok"),
            stop(),
            start(1, "tool_use", id="a", name="f", input={}),
            block_delta("input_json_delta", 1, partial_json=""),
            block_delta("input_json_delta", 1, partial_json='{"x":'),
            block_delta("input_json_delta", 1, partial_json="1}"),
            stop(1),
            start(2, "tool_use", id="b", name="g", input={}),
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
        """More than 1,024 tool calls are a protocol error."""
        calls = [start(n, "tool_use", id=f"c{n}", name="f") for n in range(1025)]
        deltas, error = decode(START, *calls)
        assert len([delta for delta in deltas if delta.fragments]) == 1024
        assert isinstance(error, EngineProtocolError)

    @pytest.mark.parametrize(
        "other",
        [
            event("ping"),
            event("something_new", x=[1]),
            block_delta("citations_delta", citation={"type": "page_location"}),
            block_delta("something_new", x=1),
            start(3, "server_tool_use", id="s", name="web_search", input={}),
            block_delta("input_json_delta", 3, partial_json='{"query"'),
            start(4, "web_search_tool_result", content=[{"type": "web_search_result"}]),
            stop(4),
            b"",
        ],
        ids=lambda payload: payload[:60].decode(),
    )
    def test_skipped_events(self, other: bytes):
        """Pings, citations, server tools and unknown types are skipped."""
        plain = [START, text("a"), text("b"), finish(), END]
        for position in range(1, 4):
            assert finished(*plain[:position], other, *plain[position:]) == finished(*plain)

    def test_lone_surrogate(self):
        """A lone surrogate stays in the delta, because the other half may follow."""
        deltas = finished(START, b'{"type":"content_block_delta","delta":{"text":"\\ud83d"}}', finish(), END)
        assert answer(deltas) == "\ud83d"

    def test_response_that_is_not_streamed(self):
        """A complete message is decoded like its events."""
        content = [
            {"type": "thinking", "thinking": "hm", "signature": "S"},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        ]
        usage = {"input_tokens": 7, "output_tokens": 5}
        deltas = finished(event("message", content=content, stop_reason="tool_use", usage=usage))
        assert answer(deltas) == "Hello"
        assert "".join(delta.reasoning for delta in deltas) == "hm"
        fragments = [fragment for delta in deltas for fragment in delta.fragments]
        assert [(part.id, part.function_name) for part in fragments if part.function_name] == [("a", "f")]
        assert "".join(fragment.arguments for fragment in fragments) == '{"x": 1}'
        assert deltas[-1].usage == UsageReport(input=7, output=5)


class TestQuirks:
    """Servers with a way of their own: nothing is lost, repeated or mistaken."""

    @pytest.mark.parametrize("pieces", [('{"a": 1}',), ('{"a"', ": 1}"), ("", '{"a": 1}'), ("",), ()])
    @pytest.mark.parametrize("ends", [(stop(1), finish("tool_use"), END), (finish("tool_use"), END)])
    def test_whole_input_and_pieces(self, pieces: tuple[str, ...], ends: tuple[bytes, ...]):
        """Input that comes with the start and again in pieces is one input. Blocks may lack their stop."""
        deltas = finished(
            START,
            start(1, "tool_use", id="a", name="f", input={"a": 1}),
            *[block_delta("input_json_delta", 1, partial_json=piece) for piece in pieces],
            *ends,
        )
        fragments = [fragment for delta in deltas for fragment in delta.fragments]
        assert [(part.id, part.function_name) for part in fragments if part.function_name] == [("a", "f")]
        assert "".join(fragment.arguments for fragment in fragments) == '{"a": 1}'

    @pytest.mark.parametrize(
        "odd",
        [
            event("content_block_delta", index="x", delta={"type": "text_delta", "text": "a"}),
            event(
                "content_block_delta",
                index=None,
                delta={"type": "text_delta", "text": "a", "thinking": False},
            ),
            block_delta("text_delta", text="a", signature=17, stop_sequence=["x"]),
            start(text="a", data={"b": 1}, signature=False),
            start(kind="document", data={"a": 1}, text={"b": 2}, id=[3], name=4) + b"",
            event("content_block_delta", delta=[]),
            event("message_start", message="none"),
            event("message_delta", delta={"stop_reason": None, "stop_sequence": 0.5}, usage=[]),
            event("content_block_start", index=0, content_block=False),
        ],
        ids=lambda payload: payload[:90].decode(),
    )
    def test_odd_types(self, odd: bytes):
        """A wrong type in a field that is no output does no harm, and loses no output beside it."""
        deltas = finished(START, odd, text("b"), finish(stop_sequence=["x"]), END)
        assert answer(deltas) == ("ab" if b'"a"' in odd and b"document" not in odd else "b")

    def test_odd_types_of_calls(self):
        """An id that is a number, arguments that are an object, a stop reason that is an object."""
        end = event("message_delta", delta={"stop_reason": {"type": "tool_use"}}, usage={"output_tokens": 3})
        deltas = finished(
            START,
            start(0, "tool_use", id=5, name="f", input={}),
            block_delta("input_json_delta", 0, partial_json={"a": 1}),
            end,
            END,
        )
        fragments = [fragment for delta in deltas for fragment in delta.fragments]
        assert [(part.id, part.function_name) for part in fragments if part.function_name] == [("5", "f")]
        assert "".join(fragment.arguments for fragment in fragments) == '{"a": 1}'
        assert deltas[-1].finish == EngineFinish(reason=FinishReason.TOOL_CALLS, word="tool_use")

    def test_two_calls_with_whole_input(self):
        """The input of a call is emitted before the next call begins, also if both have one index."""
        deltas = finished(
            START,
            start(0, "tool_use", id="a", name="f", input={"a": 1}),
            start(0, "tool_use", id="b", name="f", input={"b": 2}),
            block_delta("input_json_delta", 0, partial_json='{"b": 2}'),
            finish("tool_use"),
            END,
        )
        fragments = [fragment for delta in deltas for fragment in delta.fragments]
        assert [(part.call_index, part.arguments) for part in fragments if part.arguments] == [
            (0, '{"a": 1}'),
            (1, '{"b": 2}'),
        ]

    def test_pieces_with_another_number(self):
        """Arguments of an unknown block belong to the call that is open."""
        begun = start(1, "tool_use", id="a", name="f", input={})
        deltas = finished(
            START, begun, block_delta("input_json_delta", 0, partial_json='{"a":1}'), finish("tool_use"), END
        )
        assert "".join(part.arguments for delta in deltas for part in delta.fragments) == '{"a":1}'

    @pytest.mark.parametrize(
        "event_",
        [
            start(kind="reasoning", text="hm"),
            start(kind="thinking", text="hm"),
            block_delta("reasoning_delta", text="hm"),
            block_delta("thinking_delta", text="hm"),
        ],
    )
    def test_reasoning_in_other_fields(self, event_: bytes):
        """The type says that a text is reasoning, whatever its field is."""
        deltas = finished(START, event_, text("42"), finish(), END)
        assert ("".join(delta.reasoning for delta in deltas), answer(deltas)) == ("hm", "42")

    def test_whole_message_after_its_events(self):
        """A complete message that follows the events repeats them. Its usage and stop reason count."""
        whole = event(
            "message",
            content=[{"type": "text", "text": "42"}],
            stop_reason="max_tokens",
            usage={"output_tokens": 5},
        )
        deltas = finished(START, text("42"), finish(), whole, END)
        assert answer(deltas) == "42"
        assert deltas[-1].finish == EngineFinish(reason=FinishReason.MAX_TOKENS, word="max_tokens")

    def test_output_after_the_stop_reason(self):
        """Output after a stop reason is taken, and a broken connection after it is an error."""
        deltas = finished(START, finish(), text("4"), text("2"), finish("max_tokens"), finish(), END)
        assert answer(deltas) == "42"
        assert deltas[-1].finish == EngineFinish(reason=FinishReason.MAX_TOKENS, word="max_tokens")
        decoder = EventDecoder("test")
        decoder.feed([START, finish(), text("4")])
        decoder.cut(EngineLost("broke"))
        assert isinstance(decoder.error, EngineLost)

    @pytest.mark.parametrize(
        ("word", "error"), [("network_error", EngineAborted), ("timeout", EngineAborted)]
    )
    def test_words_for_failures(self, word: str, error: type):
        """A stop reason that means a failure is one."""
        assert type(decode(START, text("a"), finish(word), END)[1]) is error

    def test_text_deltas_in_a_thinking_block(self):
        """Some servers send reasoning as text, so the type of the block decides."""
        hm, hi = block_delta("text_delta", text="hm"), block_delta("text_delta", index=1, text="hi")
        deltas = finished(START, start(kind="thinking"), hm, stop(), start(index=1), hi, finish(), END)
        assert ("".join(delta.reasoning for delta in deltas), answer(deltas)) == ("hm", "hi")

    def test_text_after_thinking_at_the_same_index(self):
        """Where a proxy starts no block for the answer, it stays the answer."""
        thought, hi = block_delta("thinking_delta", thinking="hm"), block_delta("text_delta", text="hi")
        deltas = finished(START, start(kind="thinking"), thought, hi, finish(), END)
        assert ("".join(delta.reasoning for delta in deltas), answer(deltas)) == ("hm", "hi")


class TestUsage:
    """Token counts."""

    def test_input_includes_cached_tokens(self):
        """The reported input adds the cache reads and writes, which `input_tokens` excludes."""
        usage = {"input_tokens": 2, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30}
        message_start = event("message_start", message={"usage": usage | {"output_tokens": 1}})
        report = UsageReport(input=132, cached_input=100, cache_write_input=30)
        deltas = finished(message_start, text("a"), finish(output=9), END)
        assert deltas[0] == Delta(count=0, usage=report)
        assert deltas[-1].usage == UsageReport(input=132, output=9, cached_input=100, cache_write_input=30)

    def test_several_are_cumulative(self):
        """Each usage replaces the one before. Thinking tokens are part of the output."""
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
        """Usage that follows the stop reason is still read."""
        late = event("message_delta", delta={}, usage={"output_tokens": 12})
        assert finished(START, text("a"), finish(), late, END)[-1].usage == UsageReport(input=7, output=12)

    def test_none(self):
        """A response without usage is complete."""
        bare = event("message_delta", delta={"stop_reason": "end_turn"})
        assert finished(text("a"), bare, END)[-1].usage == UsageReport()


class TestEnds:
    """How a response ends."""

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            ("end_turn", FinishReason.END),
            ("max_tokens", FinishReason.MAX_TOKENS),
            ("stop_sequence", FinishReason.STOP_SEQUENCE),
            ("tool_use", FinishReason.TOOL_CALLS),
            ("refusal", FinishReason.REFUSAL),
            ("model_context_window_exceeded", FinishReason.CONTEXT_LENGTH),
            ("bored", FinishReason.OTHER),
        ],
    )
    def test_words(self, word: str, reason: FinishReason):
        """Each stop reason is mapped. The server's word is passed on."""
        assert finished(START, finish(word), END)[-1].finish == EngineFinish(reason=reason, word=word)

    def test_stop_sequence(self):
        """The matched stop sequence is reported."""
        last = finished(START, finish("stop_sequence", stop_sequence="\n\n"), END)[-1].finish
        assert last == EngineFinish(
            reason=FinishReason.STOP_SEQUENCE, word="stop_sequence", matched_stop="\n\n"
        )

    def test_without_the_end_mark(self):
        """With a stop reason the response is complete, even if the end mark is missing."""
        assert finished(START, text("a"), finish())[-1].finish is not None
        for complete, payloads in ((True, [START, text("a"), finish()]), (False, [START, text("a")])):
            decoder = EventDecoder("test")
            decoder.feed(payloads)
            decoder.cut(EngineLost("broke"))
            assert (decoder.error is None) is complete

    @pytest.mark.parametrize("payloads", [(), (START,), (START, text("a")), (START, text("a"), stop(), END)])
    def test_without_a_stop_reason(self, payloads: tuple[bytes, ...]):
        """Without a stop reason the response is truncated, with or without the end mark."""
        assert isinstance(decode(*payloads)[1], EngineTruncated)

    def test_nothing_follows_the_end(self):
        """After message_stop everything is ignored if the usage has arrived."""
        assert len(finished(START, finish(), END, text("late"), b"garbage")) == 2

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
    def test_error_inside_the_stream(self, kind: str, before: type, after: type):
        """The error class depends on whether there has been output. Deltas before the error are kept."""
        error = event("error", error={"type": kind, "message": "no"})
        assert type(decode(START, error)[1]) is before
        deltas, failure = decode(START, text("a"), error, END)
        assert answer(deltas) == "a"
        assert type(failure) is after

    def test_too_long_input(self):
        """An input that exceeds the context is ContextLengthExceeded."""
        message = "prompt is too long: 208310 tokens > 200000 maximum"
        error = event("error", error={"type": "invalid_request_error", "message": message})
        assert isinstance(decode(START, error)[1], ContextLengthExceeded)

    def test_error_after_the_finish(self):
        """The response is complete, so the error is ignored."""
        finished(START, text("a"), finish(), event("error", error={"type": "overloaded_error"}))

    @pytest.mark.parametrize(
        "payload",
        [
            b"{",
            b"hello",
            b"[]",
            b"17",
            b'{"type":17}',
            b'{"type":"content_block_delta","delta":[1]}',
            b'{"type":"content_block_start","content_block":{"type":"tool_use","name":17}}',
            b'{"type":"message_delta","delta":{"stop_reason":17}}',
            b'{"type":"content_block_delta","delta":{"text":17}}',
            b'{"type":' + b"[" * 100_000,
        ],
        ids=lambda payload: payload[:60].decode(),
    )
    def test_malformed_events(self, payload: bytes):
        """A malformed event is a protocol error that does not quote the output. Deltas before it are kept."""
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
def test_any_json_gives_deltas_or_an_error(payloads: list[object]):
    """The decoder never raises, whatever JSON it is fed."""
    decode(START, *[json.dumps(payload).encode() for payload in payloads], finish(), END)


TRANSCRIPT = [
    ("message_start", START),
    ("content_block_start", start(kind="thinking", thinking="")),
    ("content_block_delta", block_delta("thinking_delta", thinking="hmé")),
    ("content_block_delta", block_delta("signature_delta", signature="S")),
    ("content_block_stop", stop()),
    ("content_block_delta", block_delta("text_delta", 1, text="Hi 🦜")),
    ("ping", event("ping")),
    ("content_block_start", start(2, "tool_use", id="a", name="f")),
    ("content_block_delta", block_delta("input_json_delta", 2, partial_json='{"a":1}')),
    ("content_block_stop", stop(2)),
    ("message_delta", finish("tool_use")),
    ("message_stop", END),
]


@examples(2000)
@given(st.lists(st.integers(min_value=0)), st.sampled_from([b"\n", b"\r\n"]), st.integers(0, len(TRANSCRIPT)))
def test_the_result_does_not_depend_on_the_split(cuts: list[int], newline: bytes, length: int):
    """Deltas and error do not depend on where the bytes are split."""
    part = TRANSCRIPT[:length]
    body = b"".join(b"event: %b\ndata: %b\n\n" % (kind.encode(), payload) for kind, payload in part)
    body = body.replace(b"\n", newline)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    events, decoder = SSEDecoder(), EventDecoder("test")
    deltas = [
        delta
        for begin, end in itertools.pairwise(places)
        for delta in decoder.feed(events.feed(body[begin:end]))
    ]
    if not decoder.ended:
        deltas += decoder.end(events.close())
    expected, error = decode(*[payload for _, payload in part])
    assert (deltas, type(decoder.error)) == (expected, type(error))


BEGUN = event("message_start", message={"usage": {"input_tokens": 123, "output_tokens": 1}})
END = event("message_stop")
STOP = {"stop_reason": "end_turn"}


@pytest.mark.parametrize(
    ("start", "last", "expected"),
    [
        ({"input_tokens": 123}, {"input_tokens": 0, "output_tokens": 5}, (123, None, 5)),
        ({"input_tokens": 123}, {"output_tokens": 5}, (123, None, 5)),
        (
            {"input_tokens": 3, "cache_read_input_tokens": 120},
            {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5},
            (123, 120, 5),
        ),
        ({"input_tokens": 0}, {"input_tokens": 123, "output_tokens": 5}, (123, None, 5)),
        ({"input_tokens": 0}, {"input_tokens": 0, "output_tokens": 5}, (None, None, 5)),
        (
            {"input_tokens": 123},
            {"input_tokens": 0, "cache_read_input_tokens": 120, "output_tokens": 5},
            (123, 120, 5),
        ),
        ({"input_tokens": 123}, {"output_tokens": 0}, (123, None, None)),
        ({"input_tokens": 123}, {"input_tokens": -1, "output_tokens": 5}, (123, None, 5)),
        ({"input_tokens": "?"}, {"input_tokens": 123, "output_tokens": 5}, (123, None, 5)),
        ({"input_tokens": 123}, {"output_tokens": 5, "cache_read_input_tokens": []}, (123, None, 5)),
    ],
)
def test_zeros_and_bad_parts_of_the_usage(start, last, expected):
    """A zero after a known count is no count, and a bad part does not cost the others."""
    begun = event("message_start", message={"usage": start})
    usage = finished(begun, text("a"), event("message_delta", delta=STOP, usage=last), END)[-1].usage
    assert usage is not None
    assert (usage.input, usage.cached_input or None, usage.output) == expected


@pytest.mark.parametrize(
    "last",
    [
        event("message_delta", delta={"usage": {"output_tokens": 5}}),
        event("message_stop", usage={"output_tokens": 5}),
        event("message_stop", message={"usage": {"input_tokens": 123, "output_tokens": 5}}),
    ],
)
def test_usage_in_other_places(last):
    """Proxies put it into the delta, or tell it with the end mark."""
    usage = finished(BEGUN, text("a"), event("message_delta", delta=STOP), last, END)[-1].usage
    assert (usage.input, usage.output) == (123, 5)
