"""Bounds on the lines, events, heads and bodies that an engine over HTTP may send."""

from __future__ import annotations

import pytest

from tests.support.raw_responses import CREATE, END, HEAD, STREAM, TEXT, read_response
from tokengrpc.errors import EngineProtocolError, InvalidRequest


@pytest.mark.parametrize("kind", CREATE)
class TestBounds:
    """Exceeding a bound is a protocol error, and the connection is closed."""

    @pytest.mark.parametrize("size", [2_000, 100_000])
    async def test_a_line(self, kind: str, size: int):
        """A line is bounded by the setting, with or without its end. Events before it are kept."""
        text = b"data: " + TEXT[kind] % b"ok" + b"\n\n"
        long = b"data: " + TEXT[kind] % (b"x" * size)
        for rest in (long, long + b"\n\n" + END[kind]):
            deltas, error = await read_response(kind, STREAM + text + rest, max_event_bytes=1024)
            assert [delta.text for delta in deltas] == ["ok"]
            assert isinstance(error, EngineProtocolError)
            assert "more than 1024 bytes" in error.message

    async def test_an_event(self, kind: str):
        """An event is bounded over all its lines."""
        lines = b"data: " + b" " * 500 + b"\n"
        _, error = await read_response(kind, STREAM + lines * 3, max_event_bytes=1024)
        assert isinstance(error, EngineProtocolError)
        assert "event of more than 1024 bytes" in error.message

    async def test_the_default(self, kind: str):
        """The default bound is 1 MiB, which includes the JSON around the text."""
        for size, fits in ((1_000_000, True), (1_050_000, False)):
            event = b"data: " + TEXT[kind] % (b"x" * size) + b"\n\n"
            deltas, error = await read_response(kind, STREAM + event + END[kind])
            assert (error is None) is fits
            assert sum(len(delta.text or "") for delta in deltas) == (size if fits else 0)

    async def test_a_head(self, kind: str):
        """Headers are bounded by 64 KiB."""
        _, error = await read_response(
            kind, HEAD % (200, b"text/event-stream", b"X: " + b"x" * 70_000 + b"\r\n")
        )
        assert isinstance(error, EngineProtocolError)
        assert "headers of more than 65536 bytes" in error.message

    async def test_a_body_that_is_not_a_stream(self, kind: str):
        """At most 1 MiB of it is read, and the truncated JSON cannot be decoded."""
        body = b'{"choices":[{"text":"' + b"x" * 3_000_000
        _, error = await read_response(kind, HEAD % (200, b"application/json", b"") + body)
        assert isinstance(error, EngineProtocolError)

    async def test_a_refusal(self, kind: str):
        """The message of a refusal is truncated."""
        body = b'{"error":{"message":"' + b"no " * 100_000 + b'"}}' + b" " * 3_000_000
        _, error = await read_response(kind, HEAD % (400, b"application/json", b"") + body)
        assert isinstance(error, InvalidRequest)
        assert len(error.message) < 300
