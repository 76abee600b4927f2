"""Log lines for people at a terminal: one event is one line, with errors and tracebacks in full below it."""

from __future__ import annotations

import os
import textwrap
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wcwidth import wcswidth

from tokengrpc.escaping import escape_line, escape_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from typing import TextIO

MAX_COLUMNS = 100
_LEAST_COLUMNS = 40
_WHOLE = ("error", "cause")
"""Fields that say what went wrong. They come last, and are never shortened."""
_SHORT = frozenset(
    {
        *("generation_id", "tenant", "model", "models", "engine", "engines", "caller", "labels", "trace_id"),
        "settings",
    }
)
"""Fields that may be long, and of which the beginning is enough at a terminal: JSON has them whole."""
_SHORTEST, _LONGEST = 8, 40
"""Columns of a shortened value: fewest if that makes all fit into one line, otherwise most."""
_NAMES = {
    "generation_id": "id",
    "error_reason": "reason",
    "finish_reason": "finish",
    "first_token_seconds": "ttft",
    "input_tokens": "in",
    "output_tokens": "out",
    "seconds": "sec",
    "tokens_per_second": "tok/s",
    "trace_id": "trace",
    "usage_source": "usage",
}
"""Names of fields on a terminal, where they are shorter."""
_DISPENSABLE = {
    "call": ("trace_id", "caller", "tenant", "generation_id"),
    "generation": (
        *("trace_id", "usage_source", "caller", "labels", "attempts", "engines", "tenant"),
        *("input_tokens", "tokens_per_second", "generation_id"),
    ),
}
"""Fields that the lines of traffic go without, in this order, until each is one line: JSON has them all."""
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_INDENT = "  "


class ConsoleLines:
    """Renders events for a terminal: the time (UTC), the level, the event and its fields.

    A line has at most 100 columns, or as many as the terminal. Where the fields are too long for it, the
    longest values are shortened. A call or a generation then leaves out what matters least, so that it is one
    line; what does not fit of others continues on the next line. Errors are wrapped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._colours = self._is_terminal and not os.environ.get("NO_COLOR")

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        """Implements structlog's `Processor`."""
        width = self._width()
        level, time = str(event.pop("level", "info")), str(event.pop("timestamp", ""))[11:19]
        name, traceback = escape_line(str(event.pop("event", ""))), event.pop("exception", "")
        begin = f"{time} {level:<7} {name}"
        fields = {key: _text(value) for key, value in event.items() if key not in _WHOLE}
        errors = [f"{key}={_text(event[key])}" for key in _WHOLE if key in event]
        lines = list(_filled(begin, [*_pairs(fields), *errors], width))
        if len(lines) > 1:
            short = _shortened(fields, width - columns(begin))
            for key in _DISPENSABLE.get(name, ()):
                if columns(" ".join([begin, *_pairs(short)])) <= width:
                    break
                fields.pop(key, None)
                short = _shortened(fields, width - columns(begin))
            lines = list(_filled(begin, _pairs(short), width))
            for error in errors:
                lines += _wrapped(error, width)
        if traceback:
            lines += escape_text(str(traceback)).rstrip("\n").split("\n")
        if self._colours and level in _COLOURS:
            lines[0] = lines[0].replace(level, f"\x1b[{_COLOURS[level]}m{level}\x1b[0m", 1)
        return "\n".join(lines)

    def _width(self) -> int:
        wide = MAX_COLUMNS
        if self._is_terminal:
            with suppress(OSError):
                wide = os.get_terminal_size(self._stream.fileno()).columns or MAX_COLUMNS
        return max(_LEAST_COLUMNS, min(MAX_COLUMNS, wide))


def columns(text: str) -> int:
    """Returns the columns that a text takes on a terminal."""
    return len(text) if text.isascii() else max(0, wcswidth(text))


def _pairs(fields: Mapping[str, str]) -> list[str]:
    return [f"{_NAMES.get(key, key)}={value}" for key, value in fields.items()]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    if isinstance(value, dict):
        value = ",".join(f"{key}:{inner}" for key, inner in value.items())
    return escape_line(value if isinstance(value, str) else str(value))


def _shortened(fields: Mapping[str, str], room: int) -> dict[str, str]:
    """Returns fields whose long values are shortened, so that all take `room` columns if that is possible."""
    room -= sum(columns(pair) + 1 for pair in _pairs(dict.fromkeys(fields, "")))
    room -= sum(columns(value) for key, value in fields.items() if key not in _SHORT)
    widths = [columns(value) for key, value in fields.items() if key in _SHORT]
    sizes = range(_LONGEST, _SHORTEST - 1, -1)
    most = next((size for size in sizes if sum(min(w, size) for w in widths) <= room), _LONGEST)
    return {key: _cut(value, most) if key in _SHORT else value for key, value in fields.items()}


def _cut(value: str, most: int) -> str:
    if columns(value) <= most:
        return value
    while columns(value) > most - 1:
        value = value[:-1]
    return f"{value}…"


def _filled(begin: str, parts: list[str], width: int) -> Iterator[str]:
    """Yields lines of at most `width` columns, unless a single part is longer."""
    line = begin
    for part in parts:
        if columns(line) + 1 + columns(part) > width and line != _INDENT:
            yield line
            line = _INDENT
        line += f" {part}"
    yield line


def _wrapped(text: str, width: int) -> list[str]:
    indent = _INDENT + " "
    # Characters of two columns are counted as one there.
    narrow = width if text.isascii() else width // 2
    return textwrap.wrap(text, narrow, initial_indent=indent, subsequent_indent=indent * 2)
