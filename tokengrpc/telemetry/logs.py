"""Structured logs on stderr: JSON lines for machines, or columns for people."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

import structlog

from tokengrpc.telemetry.console import ConsoleLines
from tokengrpc.telemetry.event_log import EventLog
from tokengrpc.telemetry.json_lines import JsonLines
from tokengrpc.telemetry.line_loggers import TIMESTAMP, LineLogger, LineOutput
from tokengrpc.telemetry.log_writer import LogWriter
from tokengrpc.telemetry.tracebacks import format_traceback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from typing import TextIO

    from structlog.typing import ExcInfo, Processor

    from tokengrpc.config import Settings

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_FINISH_SECONDS = 1.0
_TRACEBACK_BEGIN, _TRACEBACK_END = 3000, 7000
"""Characters of a longer traceback that are kept, such as that of a recursion: a JSON line must be whole."""
_EMPTY: tuple[object, ...] = ("", None, {}, ())


def create_observer(value: str, options: Mapping[str, Any], settings: Settings) -> EventLog:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the observer `log`."""
    return EventLog()


@contextmanager
def logs_to_stderr(level: str, style: str) -> Iterator[LogWriter]:
    """Sends the logs of this process to stderr until the block ends, through the `LogWriter` that it yields.

    `sys.stderr` becomes that writer, so that tracebacks, warnings and the logs of libraries cannot block or
    fail either. When the block ends, what is still queued is written for at most a second.
    """
    stderr = sys.stderr
    writer = LogWriter(stderr.fileno(), _report_dropped)
    sys.stderr = cast("TextIO", writer)
    libraries = _LibraryLogs(logging.WARNING)
    logging.getLogger().addHandler(libraries)
    try:
        configure_logs(level, style, sys.stderr)
        yield writer
    finally:
        logging.getLogger().removeHandler(libraries)
        sys.stderr = stderr
        writer.finish(_FINISH_SECONDS)


class _LibraryLogs(logging.Handler):
    """Passes on what libraries log, such as gRPC and asyncio, so that it has the same form and is escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs a record as one line.

        Of asyncio's, the lines after the first show tasks and their exceptions, whose messages may repeat
        requests: the traceback has what may be logged of them.
        """
        logger = structlog.get_logger(record.name)
        write = logger.error if record.levelno >= logging.ERROR else logger.warning
        message = record.getMessage()
        if record.name == "asyncio":
            message = message.partition("\n")[0]
        write(message, logger=record.name, exc_info=record.exc_info or None)


def configure_logs(level: str, style: str, stream: TextIO) -> None:
    """Configures structlog. `style` is json, console, or auto: console if the stream is a terminal."""
    set_log_level(level)
    console = style == "console" or (style == "auto" and stream.isatty())
    render: Processor = ConsoleLines(stream) if console else JsonLines()
    structlog.configure(
        processors=[
            _level_filter,
            structlog.processors.add_log_level,
            _format_time,
            structlog.processors.ExceptionRenderer(_traceback),
            _without_empty,
            render,
        ],
        wrapper_class=LineLogger,
        logger_factory=lambda *_: LineOutput(stream),
        cache_logger_on_first_use=True,
    )


def set_log_level(level: str) -> None:
    """Drops lines below a level from now on."""
    _level_filter.least = _LEVELS[level]


@dataclass(slots=True)
class _LevelFilter:
    """Processor that drops lines below a level, which can change: a used logger keeps its class for good."""

    least: int = logging.DEBUG

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if _LEVELS.get(method, logging.ERROR) < self.least:
            raise structlog.DropEvent
        return event


_level_filter = _LevelFilter()


def _format_time(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    seconds = event.pop(TIMESTAMP, None) or time.time()
    event[TIMESTAMP] = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    return event


def _traceback(exc_info: ExcInfo) -> str:
    text = StringIO()
    format_traceback(text, exc_info)
    whole = text.getvalue().rstrip("\n")
    if len(whole) <= _TRACEBACK_BEGIN + _TRACEBACK_END:
        return whole
    return f"{whole[:_TRACEBACK_BEGIN]}\n... (cut) ...\n{whole[-_TRACEBACK_END:]}"


def _report_dropped(lines: int) -> None:
    structlog.get_logger(__name__).warning(
        "log lines were dropped: the log stream was full, closed or not read", lines=lines
    )


def _without_empty(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leaves out fields that say nothing."""
    return {key: value for key, value in event.items() if value not in _EMPTY}
