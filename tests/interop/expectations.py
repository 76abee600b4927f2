"""Expected values of reports, including fields with more than one correct value."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.interop.stage import Report


@dataclass(frozen=True)
class AtLeast:
    """This number or a higher one."""

    least: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and other >= self.least

    def __hash__(self) -> int:
        return hash(self.least)


class OneOf:
    """One of several values."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return other in self.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return f"OneOf{self.values}"


class Anything:
    """Any value."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "Anything()"


@dataclass(frozen=True)
class Matches:
    """A text that matches this pattern from its beginning to its end."""

    pattern: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self.pattern, other) is not None

    def __hash__(self) -> int:
        return hash(self.pattern)


ANYTHING = Anything()
ERROR_TEXTS: Final[Mapping[str, str]] = json.loads(
    (ROOT / "clients/error_texts.json").read_text(encoding="utf-8")
)

# The report of a stream without disturbance; a case names the fields that differ.
UNEVENTFUL: Mapping[str, Any] = {
    "text": "",
    "reasoning_text": "",
    "refusal_text": "",
    "tool_calls": [],
    "token_count": ANYTHING,
    "indexes_gapless": True,
    "sequence": ANYTHING,
    "cursor": ANYTHING,
    "usage": ANYTHING,
    "finish_reason": "END",
    "state": "",
    "error": None,
    "resumes": 0,
    "notices": {"attached": 0, "heartbeat": 0, "drain_notice": 0},
}
NOTICES = UNEVENTFUL["notices"]
# A stream that has not begun.
NOTHING: Mapping[str, Any] = {"finish_reason": "", "usage": None}


def notices(**seen: Any) -> dict[str, Any]:
    """Returns counts of notices; the others are 0."""
    return {**NOTICES, **seen}


def usage(output: Any, *, reasoning: int = 0, source: Any = "ENGINE", input: Any = 7) -> dict[str, Any]:  # noqa: A002 - the report's own name
    """Returns a usage; every scripted prompt has 7 tokens."""
    return {"input": input, "output": output, "reasoning": reasoning, "source": source}


def error(code: Any, reason: str, advice: Any, *, ended: Any = False, **fields: Any) -> dict[str, Any]:
    """Returns an error, with any id and cursor unless given.

    A failure that clients detect themselves has the message that all languages share.
    """
    expected = {"code": code, "reason": reason, "advice": advice, "ended": ended}
    message = told(reason) if reason in ERROR_TEXTS else ANYTHING
    free = dict.fromkeys(("generation_id", "last_sequence", "line"), ANYTHING)
    return {**expected, "message": message, **free, **fields}


def told(name: str, cause: str = "") -> Matches:
    """Returns the message of an entry of clients/error_texts.json. Without a cause, any will do."""
    before, brace, after = ERROR_TEXTS[name].partition("{cause}")
    middle = (re.escape(cause) or ".+") if brace else ""
    return Matches(re.escape(before) + middle + re.escape(after))


def differences(report: Report, expects: Mapping[str, Any]) -> list[str]:
    """Returns one line for each field that is missing, unknown or not as expected."""
    expected = {**UNEVENTFUL, **expects}
    found = [f"{name}: missing" for name in expected if name not in report]
    found += [f"{name}: unknown" for name in report if name not in expected]
    return found + [
        f"{name}: expected {value!r}, reported {_short(report[name])}"
        for name, value in expected.items()
        if name in report and value != report[name]
    ]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 400 else f"{text[:200]} … {text[-200:]}"
