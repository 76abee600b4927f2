"""Loggers of structlog whose lines are rendered on the thread that writes them, many in a row.

A line that is rendered alone, between other work, costs several times more than one of a row: the processor's
caches have lost its code and data meanwhile.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from tokengrpc.telemetry.log_writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

TIMESTAMP = "timestamp"
"""Field with the time of the call, in seconds since 1970, until a processor formats it."""
_FAILED = "a log line could not be rendered"
_LEVELLED: Any = structlog.make_filtering_bound_logger(logging.DEBUG)
_IMMUTABLE = frozenset({str, int, float, bool, type(None)})


class LineOutput:
    """Output of rendered lines. Warnings and errors do not wait for further lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._later = stream.write_later if isinstance(stream, LogWriter) else self._now

    def info(self, line: str) -> None:
        """Writes a line of any level below warning."""
        self._stream.write(line + "\n")

    def warning(self, line: str) -> None:
        """Writes a line of any other level, and flushes the stream."""
        self._stream.write(line + "\n")
        self._stream.flush()

    debug = info
    error = critical = warning

    def later(self, render: Callable[[], str]) -> None:
        """Writes what a function returns. It runs on the writer's thread, if there is one."""
        self._later(render)

    def _now(self, render: Callable[[], str]) -> None:
        self._stream.write(render())


class LineLogger(_LEVELLED):  # type: ignore[misc] # structlog makes the class when it is asked for it
    """Bound logger that only queues lines below warning. They have the time of the call."""

    def info(self, event: str, *args: Any, **fields: Any) -> None:  # noqa: ANN401 - any values can be logged
        """Logs a line at level info."""
        if args or not _can_wait(fields):
            super().info(event, *args, **fields)
        else:
            fields[TIMESTAMP] = time.time()
            self._logger.later(partial(self.rendered, "info", event, fields))

    def rendered(self, method: str, event: str, fields: dict[str, Any]) -> str:
        """Returns a line with its end; empty if it is dropped. If it cannot be rendered, the line says so."""
        try:
            (line,), _ = self._process_event(method, event, fields)
        except structlog.DropEvent:
            return ""
        except Exception as error:
            if event == _FAILED:
                raise
            failure = {"line": event, "error": type(error).__name__}
            return str(self.unbind(*self._context).rendered("error", _FAILED, failure))
        return f"{line}\n"


def _can_wait(fields: dict[str, Any]) -> bool:
    """Returns whether no value can change before it is rendered. Mappings are copied for that."""
    for name, value in fields.items():
        kind = type(value)
        if kind is dict and all(type(inner) in _IMMUTABLE for inner in value.values()):
            fields[name] = value.copy()
        elif kind not in _IMMUTABLE:
            return False
    return "exc_info" not in fields
