"""Responses that servers and proxies mislabel. What can be read is read, and nothing else is OK."""

from __future__ import annotations

import itertools

import pytest

from tests.support.raw_responses import CREATE, END, TEXT, read_response
from tokengrpc.engines.upstream.response.body_form import BodyForm, form_of
from tokengrpc.errors import EngineProtocolError, EngineTruncated

TYPES = [
    b"text/event-stream; charset=utf-8",
    b"application/json",
    b"text/plain; charset=utf-8",
    b"application/octet-stream",
    b"application/x-ndjson",
    b"",
]
WHOLE = {
    "openai": b'{"choices":[{"text":"ab","finish_reason":"stop"}]}',
    "anthropic": b'{"type":"message","content":[{"type":"text","text":"ab"}],"stop_reason":"end_turn"}',
}


def answer(body: bytes, content_type: bytes = b"", *, status: int = 200, extra: bytes = b"") -> bytes:
    field = b"Content-Type: " + content_type + b"\r\n" if content_type else b""
    head = b"HTTP/1.1 %d OK\r\nConnection: close\r\nContent-Length: %d\r\n" % (status, len(body))
    return head + field + extra + b"\r\n" + body


def events(kind: str, separator: bytes = b"\n\n") -> bytes:
    texts = [b"data: " + TEXT[kind] % text for text in (b"a", b"b")]
    return separator.join([*texts, END[kind].strip(), b""])


@pytest.mark.parametrize("kind", CREATE)
class TestStreams:
    """A stream is read, however it is labelled."""

    @pytest.mark.parametrize("content_type", TYPES)
    @pytest.mark.parametrize("separator", [b"\n\n", b"\n", b"\r\n"])
    async def test_of_any_type_and_separator(self, kind: str, content_type: bytes, separator: bytes):
        """The events may be one line end apart."""
        deltas, error = await read_response(kind, answer(events(kind, separator), content_type))
        assert error is None
        assert "".join(delta.text or "" for delta in deltas) == "ab"
        assert deltas[-1].finish is not None

    @pytest.mark.parametrize("status", [200, 201, 202, 206])
    @pytest.mark.parametrize("coding", [b"none", b"identity", b"", b"UTF-8", b"identity, none"])
    async def test_of_any_success_and_meaningless_coding(self, kind: str, status: int, coding: bytes):
        """Only a coding that compresses is one."""
        field = b"Content-Encoding: " + coding + b"\r\n"
        response = answer(events(kind), b"text/event-stream", status=status, extra=field)
        deltas, error = await read_response(kind, response)
        assert (error, "".join(delta.text or "" for delta in deltas)) == (None, "ab")

    @pytest.mark.parametrize(
        "keepalive",
        [
            *(b": PROCESSING", b"null", b"[PING]", b"ping", b"[keep-alive]", b'"heartbeat"', b" ", b":"),
            *(b"true", b"false", b"0", b"ping - 2026-01-31 12:00:00", b"[ping 1700000000.5]"),
        ],
    )
    @pytest.mark.parametrize("separator", [b"\n\n", b"\n"])
    async def test_with_keepalives_in_data(self, kind: str, keepalive: bytes, separator: bytes):
        """They are ignored before, between and after the output."""
        alive = b"data: " + keepalive + separator
        body = events(kind, separator + alive)
        deltas, error = await read_response(kind, answer(alive + body, b"text/event-stream"))
        assert (error, "".join(delta.text or "" for delta in deltas)) == (None, "ab")

    @pytest.mark.parametrize("content_type", TYPES)
    @pytest.mark.parametrize("separator", [b"\n\n", b"\n"])
    async def test_a_stream_without_an_end_is_truncated(
        self, kind: str, content_type: bytes, separator: bytes
    ):
        """No leniency makes an end of it."""
        body = separator.join([b"data: " + TEXT[kind] % b"ab", b""])
        deltas, error = await read_response(kind, answer(body, content_type))
        assert isinstance(error, EngineTruncated)
        assert "".join(delta.text or "" for delta in deltas) == "ab"


@pytest.mark.parametrize("kind", CREATE)
class TestOtherBodies:
    """Whole JSON is the output; what can be neither is an error."""

    @pytest.mark.parametrize("content_type", TYPES)
    @pytest.mark.parametrize("status", [200, 201])
    async def test_whole_json(self, kind: str, content_type: bytes, status: int):
        """A server that does not stream answers with one document."""
        deltas, error = await read_response(kind, answer(b" \n" + WHOLE[kind], content_type, status=status))
        assert (error, "".join(delta.text or "" for delta in deltas)) == (None, "ab")

    @pytest.mark.parametrize("content_type", TYPES)
    @pytest.mark.parametrize("body", [b"", b"\n\n", b"\xef\xbb\xbf"])
    async def test_an_empty_body_is_truncated(self, kind: str, content_type: bytes, body: bytes):
        """The server accepted the request and gave up; the request is not at fault, nor the base_url."""
        deltas, error = await read_response(kind, answer(body, content_type))
        assert isinstance(error, EngineTruncated)
        assert deltas == []

    @pytest.mark.parametrize("body", [b"<html>hello</html>", b"hello", b"dat", b"\x1f\x8b\x08\x00"])
    async def test_other_bodies(self, kind: str, body: bytes):
        """They are neither JSON nor events."""
        _, error = await read_response(kind, answer(body, b"text/html"))
        assert isinstance(error, EngineProtocolError)
        assert "text/html instead of an event stream" in error.message

    @pytest.mark.parametrize("coding", [b"gzip", b"BR", b"identity, zstd"])
    async def test_a_compressed_body(self, kind: str, coding: bytes):
        """It cannot be read."""
        field = b"Content-Encoding: " + coding + b"\r\n"
        _, error = await read_response(kind, answer(events(kind), b"text/event-stream", extra=field))
        assert isinstance(error, EngineProtocolError)
        assert "compressed its response" in error.message

    @pytest.mark.parametrize(
        "payload", [b"[ERROR]", b"pinging the database", b"nullx", b"[]", b"[1]", b"<html>"]
    )
    async def test_data_that_is_no_keepalive(self, kind: str, payload: bytes):
        """An unknown payload may be output or an error, and is not ignored."""
        body = b"data: " + payload + b"\n\n" + events(kind)
        _, error = await read_response(kind, answer(body, b"text/event-stream"))
        assert isinstance(error, EngineProtocolError)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"data: a", BodyForm.EVENTS),
        (b"\xef\xbb\xbfdata: a", BodyForm.EVENTS),
        (b": comment", BodyForm.EVENTS),
        (b"\r\n\r\nevent: a", BodyForm.EVENTS),
        (b"retry: 5", BodyForm.EVENTS),
        (b"  {", BodyForm.JSON),
        (b"\n[", BodyForm.JSON),
        (b"database: a", BodyForm.UNREADABLE),
        (b"identity", BodyForm.UNREADABLE),
    ],
)
def test_the_form_does_not_depend_on_where_the_body_is_cut(body: bytes, form: BodyForm):
    """For every beginning, the form is unknown or the same as that of the whole body."""
    assert form_of(body, ended=True) is form
    known = [form_of(body[:size], ended=False) for size in range(len(body) + 1)]
    assert [found for found, _ in itertools.groupby(known)] == [BodyForm.UNKNOWN, form]
