"""Server-sent events: the payloads do not depend on where the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.reference import events_of
from tests.support.profiles import examples
from tokengrpc.engines.upstream.response.sse import SSEDecoder
from tokengrpc.errors import EngineProtocolError

LINES = st.sampled_from(
    [
        b"data: {}",
        b"data:x",
        b"data:  two spaces",
        b"data",
        b"data: ",
        b"data: a:b",
        b'data: {"a": [1]}',
        b"data: {",
        b"data: }",
        b"data: [DONE]",
        b"data: : PROCESSING",
        b": comment",
        b":",
        b"event: ping",
        b"id: 1",
        b"database: no",
        b" data: no",
        b"\xef\xbb\xbfdata: no",
        "data: \u2028é🦜\x0b\x0c\x85".encode(),
        b"retry",
        b"",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
MIXED = st.lists(st.tuples(LINES, ENDS).map(b"".join)).map(b"".join)
USUAL = st.lists(
    st.sampled_from([b"data: {}\n\n", b"data: [DONE]\n\n", b": ping\n\n", b"data: a\ndata: b\n\n"])
).map(b"".join)
NOISE = st.lists(st.sampled_from([b"data", b":", b" ", b"\n", b"\r", b"x", b"\xef", b"\xbb", b"\xbf"])).map(
    b"".join
)
TRANSCRIPTS = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"]), st.one_of(MIXED, USUAL, NOISE), LINES
).map(b"".join)
CUTS = st.lists(st.integers(min_value=0))


def pieces(transcript: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(transcript) + 1) for cut in cuts), len(transcript)]
    return [transcript[begin:end] for begin, end in itertools.pairwise(bounds)]


@examples(3000)
@given(TRANSCRIPTS, CUTS)
@example(b"data: a\r\ndata: b\r\n\r\n", [8, 9, 18, 19])
@example(b"data: a\n\n\ndata: b\n\n", [9])
@example(b"data: a\r\r\ndata: b\r\r", [9, 10])
@example(b"data: [DONE]", [3])
@example(b"data: {}\ndata: {}\ndata: [DONE]\n", [9, 18])
@example(b"data: {}\ndata: {}\n\ndata: {\ndata: }\n\n", [])
@example(b"data: {}\ndata\ndata", [])
@example(b"data: a\n\n{", [])
@example(b"x\n\n\r\n\r[\n\n]", [])
@example(b"event: a\ndata: {}\nevent: b\ndata: {}\n", [30])
def test_any_cut_gives_what_the_specification_says(transcript: bytes, cuts: list[int]):
    """The payloads and the unfinished rest equal the oracle's for any pieces."""
    decoder = SSEDecoder()
    payloads = [payload for piece in pieces(transcript, cuts) for payload in decoder.feed(piece)]
    assert (payloads, decoder.close()) == events_of(transcript)


@examples(3000)
@given(TRANSCRIPTS)
def test_byte_by_byte_is_the_same(transcript: bytes):
    """Each byte may arrive alone."""
    decoder = SSEDecoder()
    payloads = [payload for byte in transcript for payload in decoder.feed(bytes([byte]))]
    assert (payloads, decoder.close()) == events_of(transcript)


@examples(3000)
@given(TRANSCRIPTS, CUTS, st.integers(min_value=1, max_value=20))
@example(b"\xef\xbb\xbf:", [2], 1)
def test_a_bound_fails_at_the_same_place_for_any_cut(transcript: bytes, cuts: list[int], bound: int):
    """Whether it fails, and the payloads before the failure, do not depend on the pieces."""

    def run(chunks: list[bytes]) -> tuple[list[bytes], bool]:
        decoder = SSEDecoder(max_event_bytes=bound)
        payloads: list[bytes] = []
        try:
            for chunk in chunks:
                payloads += decoder.feed(chunk)
            payloads += decoder.close()
        except EngineProtocolError:
            return payloads, True
        return payloads, False

    assert run(pieces(transcript, cuts)) == run([transcript])


@pytest.mark.parametrize(
    "endless",
    [b"data: " + b"x" * 100, b": " + b"x" * 100, b"data: " + b"x\ndata: " * 40],
    ids=["data", "comment", "lines"],
)
def test_an_endless_event_is_refused(endless: bytes):
    """A line or event over the bound raises an error before its end has arrived."""
    decoder = SSEDecoder(max_event_bytes=64)

    def trickle() -> None:
        for byte in endless:
            decoder.feed(bytes([byte]))

    with pytest.raises(EngineProtocolError, match="more than 64 bytes"):
        trickle()


@pytest.mark.parametrize("first", [b"", b"data: 0\n\n"], ids=["no event", "an event"])
def test_lines_like_json_do_not_count_for_an_event(first: bytes):
    """What came before the first `data` line takes nothing from the size that an event may have."""
    decoder = SSEDecoder(max_event_bytes=16)
    assert decoder.feed(b"[ not JSON\n\n") == []
    expected = [b"0"] if first else []
    assert decoder.feed(first) == expected
    assert decoder.feed(b"data: 0123456789\ndata: x\n\n") == [b"0123456789\nx"]


def test_events_before_a_failure_are_not_lost():
    """If a chunk has a valid event and an endless one, the first is returned and the next call fails."""
    decoder = SSEDecoder(max_event_bytes=64)
    assert decoder.feed(b"data: good\n\ndata: " + b"x" * 100) == [b"good"]
    with pytest.raises(EngineProtocolError):
        decoder.feed(b"")
    with pytest.raises(EngineProtocolError):
        decoder.close()


def test_a_large_event_in_many_chunks_is_complete():
    """An event larger than the size up to which chunks are joined is complete, as is the next event."""
    decoder = SSEDecoder()
    payload = b"x" * 100_000
    transcript = b"data: " + payload + b"\n\ndata: next\n\n"
    chunks = [transcript[at : at + 1000] for at in range(0, len(transcript), 1000)]
    assert [found for chunk in chunks for found in decoder.feed(chunk)] == [payload, b"next"]


def test_events_one_line_end_apart_are_not_delayed():
    """After the second event, which shows that there are no empty lines, none waits."""
    decoder = SSEDecoder()
    lines = [b'data: {"n": %d}\n' % number for number in range(4)]
    received = [decoder.feed(line) for line in lines]
    assert received == [[], [b'{"n": 0}', b'{"n": 1}'], [b'{"n": 2}'], [b'{"n": 3}']]


def test_json_over_several_lines_is_one_event():
    """Only JSON that is whole on its line is an event by itself."""
    decoder = SSEDecoder()
    assert decoder.feed(b'data: {"a":\ndata: {}\ndata: }\n\n') == [b'{"a":\n{}\n}']
