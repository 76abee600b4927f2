"""Log lines: values from outside are escaped in both formats."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO, cast

import pytest
import structlog
from wcwidth import wcswidth

from tokengrpc.errors import EngineUnavailable
from tokengrpc.telemetry.log_writer import MAX_LINE_LENGTH, LogWriter
from tokengrpc.telemetry.logs import configure_logs, logs_to_stderr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def test_a_long_traceback_leaves_its_line_whole(configured):
    """Its middle is left out, so that the writer, which bounds each line, cuts none."""

    def recurse(depth: int) -> int:
        return 1 + (recurse_again(depth) if depth % 2 else recurse(depth + 1))

    def recurse_again(depth: int) -> int:  # two functions, because Python itself shortens the frames of one
        return 1 + recurse(depth + 1)

    stream = configured("json")
    try:
        recurse(0)
    except RecursionError:
        structlog.get_logger("test").exception("failed")
    line = stream.getvalue()
    assert len(line) < MAX_LINE_LENGTH
    shown = json.loads(line)["exception"]
    assert shown.startswith("Traceback")
    assert shown.splitlines()[-1].startswith("RecursionError")


@contextmanager
def logging_to_pipe(style: str) -> Iterator[Callable[[], list[str]]]:
    """Sends logs to a pipe that is written rarely. Yields what ends that, and returns all lines."""
    reader, fd = os.pipe()
    writer = LogWriter(fd, lambda _: None, gather_seconds=600)

    def lines() -> list[str]:
        writer.finish(10)
        return os.read(reader, 1 << 16).decode().splitlines()

    try:
        configure_logs("info", style, cast("TextIO", writer))
        yield lines
    finally:
        structlog.reset_defaults()
        os.close(reader)
        os.close(fd)


class Unprintable:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("canary")


def test_lines_that_are_rendered_later_say_what_was_then():
    """The time and the values are those of the call, in the order of the calls."""
    labels, numbers = {"team": "search"}, [1]
    with logging_to_pipe("json") as finish:
        log = structlog.get_logger("test")
        log.info("first")
        before = datetime.now(UTC)
        log.info("call", labels=labels, code="OK", reason="")
        after = datetime.now(UTC)
        labels["team"] = "other"
        log.info("call", numbers=numbers)
        numbers.append(2)
        log.warning("last", labels=labels)
        log.debug("below the level")
        shown = [json.loads(line) for line in finish()]
    assert [line["event"] for line in shown] == ["first", "call", "call", "last"]
    assert before <= datetime.fromisoformat(shown[1].pop("timestamp")) <= after
    assert list(shown[1].items()) == [
        ("labels", {"team": "search"}),
        ("code", "OK"),
        ("event", "call"),
        ("level", "info"),
    ]
    assert shown[2]["numbers"] == [1]


def test_a_line_that_cannot_be_rendered_later_is_named():
    """As JSON like the others, without what the failure says."""
    with logging_to_pipe("json") as finish:
        log = structlog.get_logger("test").bind(value=Unprintable())
        log.info("call", code="OK")
        log.info("other")
        shown = [json.loads(line) for line in finish()]
    assert [(line["event"], line["line"]) for line in shown] == [
        ("a log line could not be rendered", "call"),
        ("a log line could not be rendered", "other"),
    ]
    assert "canary" not in str(shown)


LONG_FIELDS = {
    "a long text": {"error": "x" * MAX_LINE_LENGTH, "seconds": 0.5},
    "text that is escaped": {"error": "\U0001f600" * 2000, "cause": "\n" * 9000},
    "a long mapping": {"models": {f"model-{number}": "engine (openai)" for number in range(2000)}},
    "a long list": {"settings": [f"models.{number}.name" for number in range(3000)]},
    "many long texts": {f"field_{number}": "x" * 500 for number in range(200)},
    "more fields than fit": {f"field_{number}": "x" * 500 for number in range(2000)},
}


@pytest.mark.parametrize("fields", LONG_FIELDS.values(), ids=LONG_FIELDS)
def test_a_long_json_line_stays_whole(configured, fields: dict[str, object]):
    """Its longest fields are shortened, and named; the others are complete."""
    stream = configured("json")
    structlog.get_logger("test").info("call", **fields)
    line = stream.getvalue()
    assert len(line) <= MAX_LINE_LENGTH
    shown = json.loads(line)
    assert (shown["event"], shown["level"], "timestamp" in shown) == ("call", "info", True)
    kept = {name: value for name, value in fields.items() if name in shown and name not in shown["shortened"]}
    assert kept == {name: shown[name] for name in kept}
    assert len(shown) > 4 or len(fields) > 1000


def test_a_short_json_line_has_no_field_about_it(configured):
    """Whatever just fits is not shortened."""
    stream = configured("json")
    for length in (1, 16_000):
        structlog.get_logger("test").info("call", error="x" * length)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [len(line["error"]) for line in lines] == [1, 16_000]
    assert not any("shortened" in line for line in lines)


@pytest.mark.parametrize(("level", "flushes"), [("info", 0), ("warning", 1), ("error", 1)])
def test_warnings_and_errors_are_written_at_once(configured, monkeypatch, level: str, flushes: int):
    """Other lines may wait for further ones."""
    stream = configured("json")
    flushed: list[str] = []
    monkeypatch.setattr(stream, "flush", lambda: flushed.append(stream.getvalue()))
    configure_logs("info", "json", stream)
    getattr(structlog.get_logger("test"), level)("call")
    assert flushed == [stream.getvalue()] * flushes


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_traceback_repeats_nothing_of_a_request(configured, style: str):
    """The frames and types of all exceptions are shown, and those messages that have no values in them."""
    stream = configured(style)
    try:
        try:
            int("canary")
        except ValueError as error:
            raise EngineUnavailable("engine a is away") from error
    except EngineUnavailable:
        structlog.get_logger("test").exception("failed")
    structlog.get_logger("test").error("failed", exc_info=ExceptionGroup("canary", [KeyError("canary")]))
    structlog.get_logger("test").error("failed", exc_info=TypeError("no len()"))
    structlog.get_logger("test").error("failed", exc_info=ConnectionResetError(104, "reset by peer"))
    text = stream.getvalue()
    assert "canary" not in text.replace('int("canary")', "").replace(r"int(\"canary\")", "")
    shown = ("test_logs.py", "ValueError: (", "EngineUnavailable: engine a is away", "of 1; KeyError: (")
    for part in (*shown, "TypeError: no len()", "ConnectionResetError: [Errno 104] reset by peer"):
        assert part in text


@pytest.mark.parametrize("style", ["console", "json"])
def test_empty_fields_are_left_out(configured, style: str):
    """A number is never empty."""
    stream = configured(style)
    structlog.get_logger("test").info("call", reason="", labels={}, caller=None, count=0)
    line = stream.getvalue()
    assert not any(name in line for name in ("reason", "labels", "caller"))
    assert "count" in line


@pytest.mark.parametrize("style", ["console", "json"])
def test_asyncio_does_not_show_the_exceptions_of_tasks(capfd, style: str):
    """It writes them into its message as well."""

    async def fail() -> None:
        raise ValueError("canary")

    async def main() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        del task
        gc.collect()

    with logs_to_stderr("debug", style):
        asyncio.run(main())
    structlog.reset_defaults()
    line = capfd.readouterr().err
    assert "Task exception was never retrieved" in line
    assert "ValueError" in line
    assert "canary" not in line.replace('ValueError("canary")', "").replace(r"ValueError(\"canary\")", "")


LONG = {"generation_id": "g" * 128, "tenant": "t" * 63, "model": "模型" * 30, "labels": {"k" * 63: "v" * 64}}
ERROR = "engine llama-1 cannot be reached (Connection refused); check that it is running and its base_url"


@pytest.mark.parametrize("fields", [{}, {"model": "m"}, LONG, {**LONG, "seconds": 0.5, "count": 3}])
def test_a_line_on_a_terminal_has_at_most_100_columns(configured, fields: dict[str, object]):
    """Long values are shortened, errors never: they are wrapped between words."""
    stream = configured("console")
    log = structlog.get_logger("test")
    log.info("generation", **fields)
    log.warning("generation", **fields, error_reason="ENGINE_UNAVAILABLE", error=ERROR)
    lines = stream.getvalue().splitlines()
    assert all(wcswidth(line) <= 100 for line in lines)
    assert "reason=ENGINE_UNAVAILABLE" in stream.getvalue()
    assert f"error={ERROR}" in " ".join(stream.getvalue().split())


def test_traffic_has_one_line_each_on_a_terminal(configured):
    """With what matters most: what was asked for, how it ended, how much and how fast."""
    stream = configured("console")
    log = structlog.get_logger("test")
    ids = {"generation_id": "0123456789abcdef" * 2, "tenant": "search", "caller": "10.20.30.40:51234"}
    log.info("call", method="GenerateText", code="UNAVAILABLE", reason="OVERLOADED", seconds=0.0123, **ids)
    log.info(
        "generation",
        **ids,
        model="llama-3.1-70b-instruct",
        engines="gpu-1 gpu-2",
        attempts=2,
        finish_reason="END",
        input_tokens=1200,
        output_tokens=345,
        usage_source="ENGINE",
        first_token_seconds=0.234,
        tokens_per_second=45.6,
        seconds=7.81,
        labels={"team": "search"},
        trace_id="f" * 32,
    )
    call, generation = stream.getvalue().splitlines()
    assert {"code=UNAVAILABLE", "reason=OVERLOADED", "sec=0.0123"} <= set(call.split())
    assert {"finish=END", "out=345", "ttft=0.234", "sec=7.81"} <= set(generation.split())
    assert "model=llama-3.1" in generation


def test_a_short_line_is_one_line(configured):
    """With all values."""
    stream = configured("console")
    structlog.get_logger("test").info("call", method="StreamTokens", tenant="search", seconds=0.0798)
    assert stream.getvalue()[8:] == " info    call method=StreamTokens tenant=search sec=0.0798\n"


@pytest.mark.parametrize("style", ["console", "json"])
def test_logs_of_libraries_have_the_same_form(capfd, style: str):
    """GRPC and asyncio use Python's logging, which would write to stderr as it is."""
    with logs_to_stderr("info", style):
        logging.getLogger("grpc").error("failed: %s", NASTY)
        logging.getLogger("grpc").info("not worth a line")
    structlog.reset_defaults()
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert not set(line[:-1]) & set("\x1b\x9b\u202e\n")
    assert "failed: a" in line
    if style == "json":
        assert json.loads(line)["level"] == "error"
