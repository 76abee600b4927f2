"""HTTP/1.1 responses: the same head, body and verdict however the bytes are cut."""

from __future__ import annotations

import gc
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tokengrpc.engines.http.head import CutShort, Head, HTTPError, Malformed
from tokengrpc.engines.http.parser import ResponseParser

CUTS = st.lists(st.integers(min_value=0), max_size=8)
BODIES = st.lists(
    st.sampled_from([b"x", b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"data: {}\n\n", b"y" * 17, b"z" * 300])
)
INTERIM = st.sampled_from(
    [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
)
FIRST = st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500\r\n", b"HTTP/1.0 200 Fine \xe9\r\n"])
FIELDS = st.sampled_from(
    [b"", b"Server: x\r\n", b"Connection: close\r\n", b"connection:keep-alive\r\n", b"A:\r\nA:\t b \r\n"]
)
SURPLUS = st.sampled_from([b"", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    """A body in chunks, with everything that RFC 9112 allows."""
    coded = b""
    for part in draw(BODIES):
        size = draw(st.sampled_from([b"%x", b"%X", b"00%x", b"%x;a=b", b'%x ;a="b c"', b"%x \t"])) % len(part)
        coded += size + b"\r\n" + part + b"\r\n"
    end = draw(st.sampled_from([b"0", b"000", b"0;last"]))
    trailers = draw(st.sampled_from([b"", b"Expires: now\r\n", b"A: b\r\nC:d\r\n"]))
    return coded + end + b"\r\n" + trailers + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A response, whole or cut off anywhere, maybe with something after it."""
    kind = draw(st.sampled_from(["chunked", "sized", "until close", "empty"]))
    head = draw(INTERIM) + draw(INTERIM) + draw(FIRST) + draw(FIELDS)
    body = b"".join(draw(BODIES))
    if kind == "chunked":
        head, body = head + b"Transfer-Encoding: Chunked\r\n", draw(chunked())
    elif kind == "sized":
        head += b"Content-Length: %d\r\n" % len(body)
    elif kind == "empty":
        head, body = head.replace(b" 200", b" 204"), b""
    raw = head + b"\r\n" + body + draw(SURPLUS)
    return raw[: draw(st.integers(min_value=0))] if draw(st.booleans()) else raw


Verdict = tuple[int | None, bytes, str, bool]


def oracle(raw: bytes) -> Verdict:
    """Status, body, verdict and reuse of a well-formed response that the connection's end follows."""
    status = 100
    while status < 200:
        head, blank, raw = raw.partition(b"\r\n\r\n")
        if not blank:
            return None, b"", "cut short", False
        status = int(head.split(b" ")[1][:3])
    fields = head.lower()
    is_chunked = b"\r\ntransfer-encoding: chunked" in fields
    if status == 204:
        body, rest, verdict = b"", raw, "proper"
    elif is_chunked:
        body, rest, verdict = slow_chunks(raw)
    elif b"\r\ncontent-length: " in fields:
        length = int(fields.split(b"content-length: ")[1].split(b"\r\n")[0])
        body, rest, verdict = raw[:length], raw[length:], "proper" if len(raw) >= length else "cut short"
    else:
        return status, raw, "by close", False
    if fields.startswith(b"http/1.0"):
        is_kept = b"connection:keep-alive" in fields and not is_chunked
    else:
        is_kept = b"connection: close" not in fields
    return status, body, verdict, verdict == "proper" and is_kept and not rest.strip(b"\r\n")


def slow_chunks(raw: bytes) -> tuple[bytes, bytes, str]:
    """The body of chunks, what follows it, and the verdict."""
    body, size = b"", -1
    while size:
        line, line_end, raw = raw.partition(b"\r\n")
        if not line_end:
            return body, b"", "cut short"
        size = int(line.partition(b";")[0], 16)
        body += raw[:size]
        if size and len(raw) < size + 2:
            return body, b"", "cut short"
        raw = raw[size + 2 :] if size else raw
    while line:
        line, line_end, raw = raw.partition(b"\r\n")
        if not line_end:
            return body, b"", "cut short"
    return body, raw, "proper"


def read(raw: bytes, cuts: list[int] | None = None) -> Verdict:
    """What the parser makes of it, fed in pieces; then the connection closes."""
    parser, body = fed(raw, cuts or [])
    parser.close()
    assert parser.ended is not (parser.error is not None)
    if parser.error is not None:
        verdict = {CutShort: "cut short", Malformed: "malformed"}[type(parser.error)]
    else:
        verdict = "by close" if parser.until_close else "proper"
    return parser.head.status if parser.head else None, body, verdict, parser.reusable


def fed(raw: bytes, cuts: list[int]) -> tuple[ResponseParser, bytes]:
    parser = ResponseParser()
    places = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return parser, b"".join(parser.feed(raw[begin:end]) for begin, end in itertools.pairwise(places))


@examples(2000)
@given(responses(), CUTS)
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n2\r\nyy\r\n0\r\n\r\n", [57, 58])
def test_any_split_gives_what_the_oracle_says(raw: bytes, cuts: list[int]):
    """Status, body, the way it ended, and whether the connection can be used again."""
    assert read(raw, cuts) == read(raw, list(range(len(raw)))) == oracle(raw)


PIECES = [
    b"HTTP/1.1 200 OK",
    b"\r\n",
    b"\n",
    b"\r",
    b"Transfer-Encoding: chunked",
    b"Content-Length: 5",
    b":",
]
PIECES += [b"5", b"0", b";", b"\r\n\r\n", b"hello", b" ", b"\0", b"ffffffffffffffffff", b"HTTP/1.1 100 Go"]


@examples(2000)
@given(st.lists(st.sampled_from(PIECES)).map(b"".join), st.booleans(), CUTS)
def test_any_split_of_noise_is_judged_the_same(noise: bytes, headed: bool, cuts: list[int]):
    """What is no HTTP gives the same body and verdict, and raises nothing."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" * headed + noise
    assert read(raw, cuts) == read(raw)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class TestMalformed:
    """What is not HTTP is said to be so, after what came before it."""

    @pytest.mark.parametrize(
        "raw",
        [
            b"SSH-2.0-OpenSSH_9\r\n",
            b"http/1.1 200 OK\r\n\r\n",
            b"RTSP/1.0 200 OK\r\n\r\n",
            b"ICE/1.0 200 OK\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            HEAD + b"no colon\r\n\r\n",
            HEAD + b": no name\r\n\r\n",
            HEAD + b"a space : x\r\n\r\n",
            HEAD + b" folded: first\r\n\r\n",
            HEAD + b"A: b\r\n folded\r\n\r\n",
            HEAD + b"A: b\rC: d\r\n\r\n",
            HEAD + b"A: b\0\r\n\r\n",
            HEAD + b"Content-Length: -1\r\n\r\n",
            HEAD + b"Content-Length: 1_0\r\n\r\n",
            HEAD + b"Content-Length: \xb2\r\n\r\n",
            HEAD + b"Content-Length: \r\n\r\n",
            HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
            HEAD + b"Content-Length: 1, 1\r\n\r\n",
            HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
            HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            HEAD + b"Transfer-Encoding: identity\r\n\r\n",
        ],
        ids=lambda raw: repr(raw[-40:]),
    )
    def test_heads(self, raw: bytes):
        """No head is given for them."""
        assert read(raw) == read(raw, list(range(len(raw)))) == (None, b"", "malformed", False)

    @pytest.mark.parametrize(
        "size",
        [
            b"",
            b"x",
            b"-1",
            b"+5",
            b" 5",
            b"0x5",
            b"5_0",
            b"5 5",
            b"\xb2",
            b";a",
            b"5\r;",
            b"5;\n",
            b"f" * 17,
            b"5\n",
        ],
    )
    def test_chunk_sizes(self, size: bytes):
        """The chunks before it are kept."""
        assert read(CHUNKED + b"2\r\nok\r\n" + size + b"\r\nhello\r\n") == (200, b"ok", "malformed", False)

    @pytest.mark.parametrize("end", [b"", b"x", b"\n", b"\rx", b"\r\r\n"])
    def test_chunks_that_are_longer_than_they_say(self, end: bytes):
        """Their size is kept to."""
        assert read(CHUNKED + b"2\r\nok" + end + b"0\r\n\r\n") == (200, b"ok", "malformed", False)

    @pytest.mark.parametrize("trailer", [b"no colon\r\n", b"A: b\n", b": x\r\n"])
    def test_trailers(self, trailer: bytes):
        """They are fields like a head's."""
        assert read(CHUNKED + b"2\r\nok\r\n0\r\n" + trailer + b"\r\n") == (200, b"ok", "malformed", False)

    def test_nothing_counts_after_it(self):
        """Not even a good chunk."""
        parser, body = fed(CHUNKED + b"2\r\nok\r\nx\r\n", [])
        assert (body, parser.feed(b"2\r\nno\r\n")) == (b"ok", b"")
        assert isinstance(parser.error, HTTPError)
        assert not parser.reusable


class TestBounds:
    """Nothing grows without end."""

    @pytest.mark.parametrize(
        ("raw", "verdict"),
        [
            (HEAD + b"A: " + b"x" * 64_000 + b"\r\nContent-Length: 0\r\n\r\n", "proper"),
            (HEAD + b"A: " + b"x" * 66_000, "malformed"),
            (HEAD + b"A: b\r\n" * 199 + b"Content-Length: 0\r\n\r\n", "proper"),
            (HEAD + b"A: b\r\n" * 201 + b"\r\n", "malformed"),
            (b"HTTP/1.1 100 Continue\r\n\r\n" * 3000, "malformed"),
            (CHUNKED + b"0;" + b"x" * 4000 + b"\r\n\r\n", "proper"),
            (CHUNKED + b"1;" + b"x" * 4000 + b"\r\nx\r\n0\r\n\r\n", "proper"),
            (CHUNKED + b"1;" + b"x" * 8192, "malformed"),
            (CHUNKED + b"1\r\nx\r\n1;" + b"x" * 8192 + b"\r\nx\r\n0\r\n\r\n", "malformed"),
            (CHUNKED + b"0" * 9000, "malformed"),
            (CHUNKED + b"0\r\n" + b"A: b\r\n" * 600 + b"\r\n", "proper"),
            (CHUNKED + b"0\r\n" + b"A: b\r\n" * 12_000, "malformed"),
            (CHUNKED + b"0\r\nA: " + b"x" * 66_000, "malformed"),
        ],
        ids=lambda value: f"{value[:60]!r}" if isinstance(value, bytes) else value,
    )
    def test_heads_and_lines(self, raw: bytes, verdict: str):
        """64 KiB and 200 fields for heads; 8 KiB for extensions and trailers; the same in pieces."""
        assert read(raw)[2] == verdict
        for step in (1, 7, 1000, 4096, 5000):
            assert read(raw, list(range(0, len(raw), step)))[2] == verdict

    def test_much_output(self):
        """It is no extension: no bound applies to chunks, however small they are."""
        raw = CHUNKED + b"1;a=b\r\nx\r\n" * 20_000 + b"4e20\r\n" + b"y" * 20_000 + b"\r\n0\r\n\r\n"
        assert read(raw) == (200, b"x" * 20_000 + b"y" * 20_000, "proper", True)

    def test_a_size_that_no_body_has(self):
        """What comes is output, and the connection's end is too early: nothing wraps around."""
        assert read(CHUNKED + b"f" * 16 + b"\r\nhello") == (200, b"hello", "cut short", False)


class TestReuse:
    """Whether the connection may take another request."""

    @pytest.mark.parametrize(
        ("raw", "reusable"),
        [
            (CHUNKED + b"0\r\n\r\n", True),
            (CHUNKED + b"0\r\n", False),
            (CHUNKED + b"0\r\n\r\nmore", False),
            (CHUNKED + b"0\r\n\r\n\r\n", True),
            (b"\r\n\r\n" + CHUNKED + b"0\r\n\r\n", True),
            (b"HTTP/1.1 100 Go\r\nConnection: close\r\n\r\n" + CHUNKED + b"0\r\n\r\n", True),
            (HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx", True),
            (HEAD + b"Content-Length: 1\r\n\r\nx", True),
            (HEAD + b"Connection: Keep-Alive, Close\r\nContent-Length: 0\r\n\r\n", False),
            (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
            (HEAD + b"\r\nbody", False),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", True),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
            (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
            (
                b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                False,
            ),
        ],
    )
    def test_after_a_response(self, raw: bytes, reusable: bool):
        """Only after a proper end, with nothing after it, when the server does not close."""
        parser, _ = fed(raw, [])
        assert parser.reusable is reusable
        parser.close()
        assert not parser.until_close or not parser.reusable


class TestHead:
    """What is read of a head."""

    @pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
    def test_fields(self, line_end: bytes):
        """Names in any case, repeated fields, bytes that are no ASCII; lines may end with LF alone."""
        lines = [
            b"HTTP/1.1 200",
            b"A: 1",
            b"Set: x",
            b"a:2",
            b"B:",
            b"E: \xe9\t",
            b"Content-Length:\t2 ",
            b"",
            b"ok",
        ]
        raw = line_end.join(lines)
        for cuts in ([], list(range(len(raw)))):
            parser, body = fed(raw, cuts)
            assert (body, parser.ended, parser.head is not None) == (b"ok", True, True)
            headers = head_of(raw).headers
            assert {**headers} == {"a": "1, 2", "set": "x", "b": "", "e": "é", "content-length": "2"}
            assert headers.get("SET") == "x"
            assert "c" not in headers

    @pytest.mark.parametrize("body", [b"2\nok\r\n", b"2\r\nok\n", b"2\r\nok\r\n0\n", b"2\r\nok\r\n0\r\n\n"])
    def test_no_lf_alone_in_a_body(self, body: bytes):
        """A head of such lines does not make its body's framing less strict."""
        raw = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n" + body
        assert read(raw)[2] == "malformed"

    @pytest.mark.parametrize(
        ("value", "content_type"),
        [
            (b"text/event-stream", "text/event-stream"),
            (b"Text/Event-Stream ; charset=utf-8", "text/event-stream"),
            (b"", ""),
        ],
    )
    def test_content_type(self, value: bytes, content_type: str):
        """Without its parameters, in lower case."""
        assert head_of(b"HTTP/1.1 200\r\nContent-Type: " + value + b"\r\n\r\n").content_type == content_type

    def test_no_content_type(self):
        """Then it is bytes (RFC 9110, 8.3)."""
        assert head_of(HEAD + b"\r\n").content_type == "application/octet-stream"


def head_of(raw: bytes) -> Head:
    head = fed(raw, [])[0].head
    assert head is not None
    return head


@pytest.mark.parametrize(
    "raw",
    [
        CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"2\r\nok\r\n",
        CHUNKED + b"zz",
        HEAD + b"Content-Length: 1\r\n\r\nxmore",
        HEAD + b"\r\nuntil close",
        b"SSH-2.0-OpenSSH_9\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_reference_counting_alone_frees_a_parser(raw: bytes):
    """A collection of all garbage would stop every stream."""
    gc.collect()
    gc.disable()
    try:
        fed(raw, [])[0].close()
        assert gc.collect() == 0
    finally:
        gc.enable()
