"""Log lines for machines: one JSON object a line, which stays whole however long its fields are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokengrpc.telemetry.log_writer import MAX_LINE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

SHORTENED = "shortened"
"""Field with the names of the fields that were shortened."""
_LENGTHS = (4096, 1024, 256, 32)
"""Characters to which values are shortened: the first length with which the line is short enough counts."""
_ESSENTIAL = ("event", "level", "timestamp")
"""Fields that are left, shortened, if even that is not enough."""

_encode = json.JSONEncoder(default=repr).encode


class JsonLines:
    """Renders events as JSON. What is not ASCII is escaped, and so are control characters.

    If a line is longer than `LogWriter` takes, the longest values are replaced by the beginning and the end
    of their text, and the field `shortened` names them.
    """

    def __init__(self, max_length: int = MAX_LINE_LENGTH) -> None:
        """`max_length` is in characters, with the line's end."""
        self._max_length = max_length - 1

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        """Implements structlog's `Processor`."""
        line = _encode(event)
        if len(line) <= self._max_length:
            return line
        for most in _LENGTHS:
            line = _encode(_shortened(event, most))
            if len(line) <= self._max_length:
                return line
        return _encode(_shortened({key: event[key] for key in _ESSENTIAL if key in event}, _LENGTHS[-1]))


def _shortened(event: Mapping[str, Any], most: int) -> dict[str, Any]:
    short = {key: _cut(value, most) for key, value in event.items()}
    return short | {SHORTENED: [key for key, value in event.items() if short[key] is not value]}


def _cut(value: object, most: int) -> object:
    """Returns a value, or both ends of its text if it takes more than `most` characters as JSON."""
    if len(_encode(value)) <= most:
        return value
    text = value if isinstance(value, str) else _encode(value)
    kept = most // 2
    while len(_encode(text[:kept])) + len(_encode(text[-kept:])) > most:
        kept //= 2
    return f"{text[:kept]} … {text[-kept:]}"
