"""What a report may say where one value is not the only right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.interop.stage import Report


@dataclass(frozen=True)
class AtLeast:
    """A number from this one on."""

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
    """Whatever there is."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "Anything()"


ANYTHING = Anything()

# What is reported of a stream in which nothing but what a case names happens.
UNEVENTFUL: Mapping[str, Any] = {
    "text": "",
    "reasoning_text": "",
    "refusal_text": "",
    "tool_calls": [],
    "token_count": ANYTHING,
    "indexes_gapless": True,
    "sequence": ANYTHING,
    "usage": ANYTHING,
    "finish_reason": "END",
    "state": "",
    "error": None,
    "resumes": 0,
    "notices": {"attached": 0, "heartbeat": 0, "drain_notice": 0},
}
NOTICES = UNEVENTFUL["notices"]


def notices(**seen: Any) -> dict[str, Any]:
    """Notices, where they are not all 0."""
    return {**NOTICES, **seen}


def usage(output: Any, *, reasoning: int = 0, source: Any = "ENGINE", input: Any = 7) -> dict[str, Any]:  # noqa: A002 - the report's own name
    """A usage; every scripted prompt has 7 tokens."""
    return {"input": input, "output": output, "reasoning": reasoning, "source": source}


def error(code: Any, reason: str, advice: Any, *, ended: Any = False, **fields: Any) -> dict[str, Any]:
    """An error; its id and cursor are anything unless told."""
    told = {"code": code, "reason": reason, "advice": advice, "ended": ended}
    return {**told, "generation_id": ANYTHING, "last_sequence": ANYTHING, **fields}


def differences(report: Report, expects: Mapping[str, Any]) -> list[str]:
    """Each field that is missing, unknown or not as expected, in one line."""
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
