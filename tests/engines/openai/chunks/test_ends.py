"""Decoding chunks of OpenAI-compatible servers: every kind of end, and the same result for any split."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.openai_payloads import DONE, EVERYTHING, STOP, chat, counts, decode, finished, sums, text
from tests.support.profiles import examples
from tokengrpc.core.model import Delta, EngineFinish, FinishReason, UsageReport
from tokengrpc.core.request import OutputOptions
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.upstream.response.finish_reasons import ABORT_REASONS, FINISH_REASONS
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
)

# Fields that the decoder reads.
FIELDS = (
    *(
        "choices",
        "usage",
        "error",
        "delta",
        "content",
        "text",
        "tool_calls",
        "function",
        "arguments",
        "index",
    ),
    *("id", "name", "logprobs", "tokens", "finish_reason", "token_ids", "bytes", "token", "prompt_tokens"),
    *("code", "message", "detail", "stop_reason"),
)


class TestFinish:
    """How a response ends."""

    @pytest.mark.parametrize(("word", "reason"), sorted(FINISH_REASONS.items()))
    def test_known_words(self, word: str, reason: FinishReason):
        """Each row of FINISH_REASONS. The server's word is passed on."""
        assert finished(text("a", finish_reason=word), DONE)[-1].finish == EngineFinish(
            reason=reason, word=word
        )

    def test_unknown_word(self):
        """An unknown word becomes OTHER and is passed on."""
        assert finished(text("a", finish_reason="bored"))[-1].finish == EngineFinish(
            reason=FinishReason.OTHER, word="bored"
        )

    @pytest.mark.parametrize("field", ["stop_reason", "matched_stop"])
    def test_stop_sequence(self, field: str):
        """The stop sequence that vLLM and SGLang report is passed on. A token id there is an end mark."""
        finish = finished(chat({}, finish_reason="stop", **{field: "\n\n"}))[-1].finish
        assert finish == EngineFinish(reason=FinishReason.STOP_SEQUENCE, word="stop", matched_stop="\n\n")
        assert finished(chat({}, finish_reason="stop", **{field: 151645}))[-1].finish == EngineFinish(
            reason=FinishReason.END, word="stop"
        )

    @pytest.mark.parametrize("word", sorted(ABORT_REASONS))
    def test_abort_reasons(self, word: str):
        """An abort is an error even if [DONE] follows. The deltas before it are kept."""
        deltas, error = decode(text("a"), text("b", finish_reason=word), DONE)
        assert [delta.text for delta in deltas] == ["a", "b"]
        assert isinstance(error, EngineAborted)

    def test_done_without_a_finish_reason(self):
        """[DONE] alone does not complete a response, because vLLM also sends it after aborts."""
        deltas, error = decode(text("a"), DONE)
        assert deltas == [Delta(text="a")]
        assert isinstance(error, EngineTruncated)

    def test_end_without_a_finish_reason(self):
        """The end of the body alone does not complete a response."""
        assert isinstance(decode(text("a"))[1], EngineTruncated)
        assert isinstance(decode()[1], EngineTruncated)

    def test_end_without_done(self):
        """After a finish reason, the body may end without [DONE]."""
        assert finished(text("a"), STOP)[-1].finish is not None

    def test_nothing_follows_the_end(self):
        """After [DONE] everything is ignored if the usage has arrived."""
        assert len(finished(STOP, sums(7, 1), DONE, text("late"), b"garbage")) == 1

    def test_usage_follows_the_end(self):
        """If the usage is outstanding at [DONE], reading goes on until it arrives, and then ends."""
        decoder = ChunkDecoder("test", OutputOptions())
        deltas = decoder.feed([text("a"), STOP, DONE, b"garbage"])
        assert not decoder.ended
        deltas += decoder.feed([sums(7, 1), text("late"), b"garbage"])
        assert decoder.ended
        assert decoder.error is None
        assert [delta.text for delta in deltas] == ["a", ""]
        assert deltas[-1].usage == UsageReport(input=7, output=1)

    def test_output_between_the_end_mark_and_the_usage(self):
        """What is read is not lost."""
        deltas = finished(text("a"), STOP, DONE, text("b"), sums(7, 1))
        assert [delta.text for delta in deltas] == ["a", "b", ""]
        assert deltas[-1].usage == UsageReport(input=7, output=1)

    @pytest.mark.parametrize(
        ("rest", "complete"), [(DONE, True), (STOP, True), (STOP[:-5], False), (b"[DON", False)]
    )
    def test_last_event_without_its_line_end(self, rest: bytes, complete: bool):
        """A complete last event counts. A truncated one is EngineTruncated, not a protocol error."""
        decoder = ChunkDecoder("test", OutputOptions())
        decoder.feed([text("a"), *([STOP] if rest == DONE else [])])
        decoder.end([rest])
        assert decoder.ended
        assert decoder.error is None if complete else isinstance(decoder.error, EngineTruncated)

    def test_broken_connection(self):
        """A broken connection is an error before the finish reason, but not after it."""
        for payloads, complete in (([text("a")], False), ([text("a"), STOP, sums(7, 2)], True)):
            decoder = ChunkDecoder("test", OutputOptions())
            decoder.feed(payloads)
            lost = EngineLost("broke")
            deltas = decoder.cut(lost)
            assert decoder.ended
            assert decoder.error is (None if complete else lost)
            assert [delta.usage for delta in deltas] == ([UsageReport(input=7, output=2)] if complete else [])

    @pytest.mark.parametrize(
        "late",
        [
            b"{",
            b"nonsense",
            b'{"usage":{"prompt_tokens":-1}}',
            b'{"error":{"message":"out of memory","code":500}}',
            b'{"detail":' + b"[" * 900 + b"]" * 900 + b"}",
            chat({}, finish_reason="abort"),
            chat({"tool_calls": [{"id": str(number)} for number in range(2000)]}),
        ],
        ids=lambda late: late[:40].decode(),
    )
    def test_malformed_chunk_after_the_finish(self, late: bytes):
        """The response is complete, so a malformed chunk is ignored. Usage that follows it is still read."""
        last = finished(text("a"), STOP, late, sums(7, 2), DONE)[-1]
        assert last.usage == UsageReport(input=7, output=2)
        assert last.finish is not None
        assert last.finish.word == "stop"

    @pytest.mark.parametrize("word", ["stop", "bored\\ud83d", "\\ud83d"])
    def test_words_with_a_lone_surrogate(self, word: str):
        """Finish words and stop sequences become valid Unicode, and the response is complete."""
        payload = b'{"choices":[{"finish_reason":"%b","stop_reason":"x\\udc00"}]}' % word.encode()
        finish = finished(text("a"), payload)[-1].finish
        assert finish is not None
        assert finish.word == word.replace("\\ud83d", "\N{REPLACEMENT CHARACTER}")
        if word == "stop":
            assert finish.matched_stop == "x\N{REPLACEMENT CHARACTER}"
        matched = finished(b'{"choices":[{"finish_reason":"stop","matched_stop":"\\ud83d\\ude00\\ud83d"}]}')[
            -1
        ].finish
        assert matched is not None
        assert matched.matched_stop == "\N{GRINNING FACE}\N{REPLACEMENT CHARACTER}"

    def test_too_many_calls(self):
        """More than 1,024 tool calls are a protocol error, with or without indexes."""
        for index in ({}, {"index": None}):
            calls = [{"id": f"c{n}", "function": {"name": "f"}, **index} for n in range(20_000)]
            deltas, error = decode(text("a"), chat({"tool_calls": calls}))
            assert deltas[0] == Delta(text="a")
            assert len([part for delta in deltas for part in delta.fragments]) <= 1024
            assert isinstance(error, EngineProtocolError)
            assert "1024 tool calls" in error.message
        calls = [{"id": f"c{n}", "function": {"name": "f"}} for n in range(1024)]
        deltas = finished(chat({"tool_calls": calls * 2}), STOP)
        assert len([part for delta in deltas for part in delta.fragments]) == 1024

    def test_arguments_before_the_name_are_bounded(self):
        """More than 1 MiB of a call's arguments before its name is an error. After it, there is no bound."""
        piece = {"index": 0, "function": {"arguments": "x" * 400_000}}
        deltas, error = decode(text("a"), *[chat({"tool_calls": [piece]})] * 3)
        assert deltas[0] == Delta(text="a")
        assert isinstance(error, EngineProtocolError)
        assert "without a name" in error.message
        others = [piece | {"index": number} for number in range(4)]
        deltas = finished(*[chat({"tool_calls": others})] * 2, STOP)
        assert sum(len(part.arguments) for delta in deltas for part in delta.fragments) == 3_200_000
        named = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
        deltas = finished(chat({"tool_calls": [named]}), *[chat({"tool_calls": [piece]})] * 3, STOP)
        assert sum(len(part.arguments) for delta in deltas for part in delta.fragments) == 1_200_000


BUSY = {"message": "Rate limit reached", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
CONTEXT = {"message": "This model's maximum context length is 8 tokens", "code": "context_length_exceeded"}


class TestErrors:
    """Failures inside a stream."""

    @pytest.mark.parametrize(
        ("payload", "before", "after"),
        [
            ({"error": BUSY}, EngineBusy, EngineAborted),
            (
                {"error": {"message": "Overloaded", "type": "overloaded_error"}},
                EngineBusy,
                EngineAborted,
            ),
            ({"error": {"message": "down", "code": 503}}, EngineUnavailable, EngineAborted),
            (
                {"error": {"message": "CUDA out of memory", "type": "InternalServerError", "code": 500}},
                EngineUnavailable,
                EngineAborted,
            ),
            ({"error": CONTEXT}, ContextLengthExceeded, ContextLengthExceeded),
            (
                {"error": {"type": "exceed_context_size_error", "code": 400, "message": "x"}},
                ContextLengthExceeded,
                ContextLengthExceeded,
            ),
            (
                {"error": {"message": "no", "type": "BadRequestError", "code": 400}},
                InvalidRequest,
                EngineAborted,
            ),
            (
                {"error": {"message": "no", "type": "invalid_request_error", "code": None}},
                InvalidRequest,
                EngineAborted,
            ),
            ({"error": {"message": "no", "code": "401"}}, EngineAuthFailed, EngineAborted),
            ({"error": "gone", "error_type": "generation"}, EngineAborted, EngineAborted),
            (
                {"object": "error", "message": "gone", "type": "InternalServerError"},
                EngineAborted,
                EngineAborted,
            ),
            ({"detail": "gone"}, EngineAborted, EngineAborted),
        ],
    )
    def test_error_inside_the_stream(self, payload: object, before: type, after: type):
        """The error class depends on whether there has been output. Deltas before the error are kept."""
        error = json.dumps(payload).encode()
        assert type(decode(chat({"role": "assistant"}), error, DONE)[1]) is before
        deltas, failure = decode(text("a"), error, DONE)
        assert deltas == [Delta(text="a")]
        assert type(failure) is after

    def test_error_after_the_finish(self):
        """The response is complete, so the error is ignored."""
        finished(text("a"), STOP, json.dumps({"error": BUSY}).encode())

    def test_long_messages_are_cut(self):
        """At most 200 characters of an engine's message are quoted, in one line."""
        _, error = decode(json.dumps({"error": {"message": "line\n" * 1000}}).encode())
        assert error is not None
        assert "line line" in error.message
        assert len(error.message) < 300

    @pytest.mark.parametrize(
        "payload",
        [
            b"{",
            b"hello",
            b"[]",
            b"17",
            b'{"choices":{"a":1}}',
            b'{"choices":[{"delta":1.5}]}',
            b'{"choices":[{"delta":{"content":1.5}}]}',
            b'{"choices":[{"delta":{"content":"\xff"}}]}',
            b'{"usage":{"prompt_tokens":' + b"9" * 5000 + b"}}",
            b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"x":' + b"[" * 100_000,
        ],
        ids=lambda payload: payload[:40].decode("ascii", "replace"),
    )
    def test_malformed_chunks(self, payload: bytes):
        """A malformed chunk is an error that does not quote the output. Deltas before it are kept."""
        deltas, error = decode(text("secret"), payload, text("b"))
        assert deltas == [Delta(text="secret")]
        assert isinstance(error, EngineProtocolError | EngineAborted)
        assert "secret" not in error.message

    @examples(2000)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(FIELDS),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_json_gives_deltas_or_an_error(self, payload: object):
        """The decoder never raises, whatever JSON it is fed."""
        decode(
            json.dumps(payload).encode(), json.dumps({"choices": [payload]}).encode(), STOP, output=EVERYTHING
        )


TRANSCRIPTS = {
    "openai": [text("Hel"), text("lo 🦜"), STOP, sums(7, 2), DONE],
    "vllm": [
        chat({"role": "assistant", "content": ""}, usage=counts(7, 0)),
        chat({"reasoning": "hm"}, usage=counts(7, 1), token_ids=[5]),
        text("é", usage=counts(7, 3), token_ids=[6, 7]),
        chat({}, finish_reason="stop", stop_reason="END", usage=counts(7, 4), token_ids=[8]),
        sums(7, 4),
        DONE,
    ],
    "tools": [
        chat({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":'}}]}),
        chat({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        chat({}, finish_reason="tool_calls"),
        DONE,
    ],
    "aborted": [text("a"), text("b"), chat({}, finish_reason="abort"), DONE],
    "truncated": [text("a"), text("b")],
    "malformed": [text("a"), b'{"choices":[{', text("b")],
}


def run(chunks: list[bytes]) -> tuple[list[Delta], type | None]:
    """Decodes the chunks of a body as the engine does."""
    events, decoder = SSEDecoder(), ChunkDecoder("test", EVERYTHING)
    deltas = [delta for chunk in chunks for delta in decoder.feed(events.feed(chunk))]
    if not decoder.ended:
        deltas += decoder.end(events.close())
    return deltas, type(decoder.error) if decoder.error else None


@examples(2000)
@given(
    st.sampled_from(sorted(TRANSCRIPTS)),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.sampled_from([b"data: ", b"data:", b": ping\n\ndata: ", b"event: message\ndata: "]),
    st.lists(st.integers(min_value=0)),
    st.booleans(),
)
def test_the_result_does_not_depend_on_the_split(
    name: str, newline: bytes, prefix: bytes, cuts: list[int], ended: bool
):
    """Deltas and error do not depend on where the bytes are split, nor on line ends and comments."""
    payloads = TRANSCRIPTS[name]
    body = b"".join(prefix + payload + b"\n\n" for payload in payloads)
    body = (body if ended else body.removesuffix(b"\n\n")).replace(b"\n", newline)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    chunks = [body[begin:end] for begin, end in itertools.pairwise(places)]
    decoder = ChunkDecoder("test", EVERYTHING)
    expected = decoder.feed(payloads)
    if not decoder.ended:
        expected += decoder.end([])
    assert run(chunks) == (expected, type(decoder.error) if decoder.error else None)
