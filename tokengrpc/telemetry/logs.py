"""Structured logs on stderr: JSON lines for machines, or columns for people."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

import structlog

from tokengrpc.core.ports.observer import GenerationEnded
from tokengrpc.escaping import escape_line, escape_text
from tokengrpc.telemetry.log_writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from typing import TextIO

    from structlog.typing import ExcInfo, Processor

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.observer import ObserverEvent

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_FINISH_SECONDS = 1.0

log = structlog.get_logger("tokengrpc.generations")


class GenerationLog:
    """Observer that logs one line per ended generation: id, tenant, model, engines, usage and outcome."""

    def on_event(self, event: ObserverEvent) -> None:
        """Implements `Observer`. Engine failures and internal errors are logged as warnings."""
        if not isinstance(event, GenerationEnded):
            return
        record = event.record
        write = log.warning if record.error_reason.startswith(("ENGINE_", "INTERNAL")) else log.info
        end_ns = record.end_time_ns or record.create_time_ns
        write(
            "generation",
            generation_id=record.generation_id,
            tenant=record.tenant,
            model=record.model,
            engines=" ".join(record.engines),
            finish_reason=record.finish_reason.value if record.finish_reason else "",
            error_reason=record.error_reason,
            input_tokens=record.usage.input,
            output_tokens=record.usage.output,
            usage_source=record.usage.source.name,
            seconds=round((end_ns - record.create_time_ns) / 1e9, 6),
        )


def create_observer(value: str, options: Mapping[str, Any], settings: Settings) -> GenerationLog:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the observer `log`."""
    return GenerationLog()


@contextmanager
def logs_to_stderr(level: str, style: str) -> Iterator[None]:
    """Sends the logs of this process to stderr until the block ends, through a `LogWriter`.

    `sys.stderr` becomes that writer, so that tracebacks, warnings and the logs of libraries cannot block or
    fail either. When the block ends, what is still queued is written for at most a second.
    """
    stderr = sys.stderr
    writer = LogWriter(stderr.fileno(), _report_dropped)
    sys.stderr = cast("TextIO", writer)
    try:
        configure_logs(level, style, sys.stderr)
        yield
    finally:
        sys.stderr = stderr
        writer.finish(_FINISH_SECONDS)


def configure_logs(level: str, style: str, stream: TextIO) -> None:
    """Configures structlog. `style` is json, console, or auto: console if the stream is a terminal."""
    console = style == "console" or (style == "auto" and stream.isatty())
    renderers: list[Processor] = (
        [
            _escape_values,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=_escaped_traceback),
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def _report_dropped(lines: int) -> None:
    structlog.get_logger(__name__).warning(
        "log lines were dropped: the log stream was full, closed or not read", lines=lines
    )


def _escape_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Escapes control characters. JSON does that itself."""
    return {
        key: value if key == "exc_info" else escape_line(value if isinstance(value, str) else repr(value))
        for key, value in event.items()
    }


def _escaped_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Formats a plain traceback: those of rich show local variables, which may contain prompts."""
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(escape_text(text.getvalue()))
