"""Log lines: values from outside are escaped in both formats."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from tokengrpc.telemetry.logs import configure_logs

NASTY = "a\x1b[2J\nforged line\u202eb\x9b"


@pytest.fixture
def configured():
    """Configures structlog for one test and returns the stream that its lines go to."""

    def configure(style: str) -> io.StringIO:
        stream = io.StringIO()
        configure_logs("info", style, stream)
        return stream

    yield configure
    structlog.reset_defaults()


@pytest.mark.parametrize("style", ["console", "json"])
def test_values_from_outside_cannot_control_a_terminal(configured, style: str):
    """A value of a call, such as an invalid generation id, is one line of visible characters."""
    stream = configured(style)
    structlog.get_logger("test").info("call", generation_id=NASTY, numbers=[NASTY])
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert not set(line[:-1]) & set("\x1b\x9b\u202e\n")
    if style == "json":
        assert json.loads(line)["generation_id"] == NASTY
    else:
        assert all(escape in line for escape in (r"\x1b[2J", r"\nforged", r"\u202eb", r"\x9b"))


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_traceback_cannot_control_a_terminal(configured, style: str):
    """The message of an exception may hold what an engine sent."""
    stream = configured(style)
    structlog.get_logger("test").error("failed", exc_info=ValueError(NASTY))
    text = stream.getvalue()
    assert "ValueError" in text
    assert not set(text) & set("\x1b\x9b\u202e")
