"""The calls of grpcurl and grpc-health-probe in the documentation, compared with their real output."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROGRAMS = ("grpcurl ", "grpc-health-probe ")
_FENCED = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODES: Final = {code.name: code.value[0] for code in grpc.StatusCode}
# grpcurl's exit code for a failed call is this number plus the status code.
_FAILED: Final = 64
_DURATION = re.compile(r"\d+\.\d+s")
GAP: Final = "…"
"""Marks what the documentation leaves out: a value, fields, or, on a line of its own, whole messages."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call: its words, the comment above it, and the output that the page shows."""

    words: tuple[str, ...]
    comment: str = ""
    shown: str = ""

    @property
    def timed(self) -> bool:
        """Whether the call ends after a time limit, so that the number of its messages varies."""
        return "-max-time" in self.words

    @property
    def exit_code(self) -> int:
        """The expected exit code: 0, or that of the status named in the comment."""
        named = [_CODES[word] for word in re.findall(r"[A-Z_]+", self.comment) if word in _CODES]
        return _FAILED + named[0] if named else 0


def shown_calls(page: str) -> Iterator[Call]:
    """Yields all calls of a page, in order."""
    for block in _FENCED.findall(page):
        lines = block.splitlines()
        comment = ""
        while lines:
            line = lines.pop(0).removeprefix("$ ")
            if line.startswith("#"):
                comment = line
            elif line.startswith(_PROGRAMS):
                words = _words(line, lines)
                yield Call(words=words, comment=comment, shown=_output(lines))
                comment = ""


def _words(line: str, following: list[str]) -> tuple[str, ...]:
    """Returns a command's words. A command continues after a backslash, and within quotes."""
    while True:
        if line.endswith("\\"):
            line = line[:-1] + following.pop(0)
            continue
        try:
            return tuple(shlex.split(line))
        except ValueError:
            line += "\n" + following.pop(0)


def _output(lines: list[str]) -> str:
    """Returns the lines up to the next command."""
    shown = []
    while lines and not lines[0].startswith(("$ ", "#", *_PROGRAMS)):
        shown.append(lines.pop(0))
    return "\n".join(shown).strip()


def messages(text: str) -> list[Any]:
    """Parses consecutive JSON objects, as grpcurl prints them."""
    found, decoder, position = [], json.JSONDecoder(), 0
    while position < len(text.rstrip()):
        message, position = decoder.raw_decode(text, position)
        found.append(message)
        position += len(text[position:]) - len(text[position:].lstrip())
    return found


def agrees(shown: str, came: list[Any], *, timed: bool) -> bool:
    """Returns whether the received messages equal the shown ones. In a `timed` call, numbers may differ."""
    before, gap, after = (f"{shown}\n").partition(f"{GAP}\n")
    first, last = messages(_as_json(before)), messages(_as_json(after).lstrip())
    if not gap and len(first) != len(came):
        return False
    ends = [*zip(first, came, strict=False), *zip(reversed(last), reversed(came), strict=False)]
    return len(first) + len(last) <= len(came) and all(_same(left, right, timed) for left, right in ends)


def _as_json(shown: str) -> str:
    """Returns the text with each gap as valid JSON: a value `"…"`, or a field of that name."""

    def filled(found: re.Match[str]) -> str:
        if found[0] != GAP:
            return found[0]
        of_a_field = found.string[: found.start()].rstrip().endswith(":")
        return f'"{GAP}"' if of_a_field else f'"{GAP}": null'

    return re.sub(rf'"[^"]*"|{GAP}', filled, shown).lstrip()


def _same(shown: Any, came: Any, timed: bool) -> bool:
    if shown == GAP:
        return True
    if isinstance(shown, dict) and isinstance(came, dict):
        told = {name: value for name, value in shown.items() if name != GAP}
        whole = len(told) < len(shown) or told.keys() == came.keys()
        return whole and all(name in came and _same(told[name], came[name], timed) for name in told)
    if isinstance(shown, list) and isinstance(came, list):
        return len(shown) == len(came) and all(map(_same, shown, came, [timed] * len(shown)))
    if isinstance(shown, str) and isinstance(came, str):
        return shown == came or bool(_DURATION.fullmatch(shown) and _DURATION.fullmatch(came))
    return type(shown) is type(came) and (timed or shown == came)
