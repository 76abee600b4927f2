"""The replies of a scripted engine, and what they consist of."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from tokengrpc.config.faults import FaultSettings
from tokengrpc.config.messages import Problem, convert
from tokengrpc.core.model import Delta, EngineFinish, FinishReason, ToolCallFragment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.model import UsageReport

_WORDS = re.compile(r"\s*\S+|\s+$")
_NOT_ENDS = frozenset({FinishReason.ERROR, FinishReason.CANCELLED, FinishReason.DEADLINE})


@dataclass(frozen=True)
class Reasoning:
    """One token of reasoning."""

    text: str


@dataclass(frozen=True)
class Refusal:
    """One token of a refusal."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A tool call of one token. `arguments` is JSON text, or a value that JSON can hold."""

    name: str
    arguments: str | Mapping[str, Any] = "{}"
    id: str = "call-1"


@dataclass(frozen=True)
class Pause:
    """Silence for some seconds."""

    seconds: float


class Hold:
    """Silence until it is released, by any thread. A released hold stays open."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._lock = threading.Lock()
        self._released = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def wait_reached(self, timeout: float = 30.0) -> None:
        """Blocks until the engine is here. Raises TimeoutError after `timeout` seconds."""
        if not self._reached.wait(timeout):
            raise TimeoutError("the engine has not reached this hold: was its reply requested?")

    def release(self) -> None:
        """Lets the engine continue."""
        with self._lock:
            self._released = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            with suppress(RuntimeError):  # the server has stopped meanwhile
                loop.call_soon_threadsafe(event.set)

    async def pass_through(self) -> None:
        """Waits in the engine until the hold is released."""
        event = asyncio.Event()
        with self._lock:
            if not self._released:
                self._waiting.append((asyncio.get_running_loop(), event))
            else:
                event.set()
        self._reached.set()
        await event.wait()


Part = str | Reasoning | Refusal | ToolCall | Pause | Hold


class Reply:
    """What the engine does with one request: says the parts in order, ends, or fails as planned.

    Each string is one token of text. `finish` is the name of a finish reason of the contract. `usage` is what
    the engine reports at its end; without it the server counts. `faults` are those of docs/simulator.md, such
    as `{"status": 503}`, `{"stall_at_token": 2}` or `{"cut_at_token": 2}`.

    Raises TypeError for another part, ValueError for an unknown finish reason or an invalid fault.
    """

    def __init__(
        self,
        *parts: Part,
        finish: str = "",
        usage: UsageReport | None = None,
        faults: Mapping[str, Any] | None = None,
    ) -> None:
        for part in parts:
            if not isinstance(part, Part):
                raise TypeError(
                    f"{part!r} is no part of a reply; pass {', '.join(p.__name__ for p in get_args(Part))}"
                )
        self.parts = parts
        called = any(isinstance(part, ToolCall) for part in parts)
        self.end = EngineFinish(reason=_finish_reason(finish or ("TOOL_CALLS" if called else "END")))
        self.usage = usage
        try:
            self.faults = convert(dict(faults or {}), FaultSettings)
        except Problem as problem:
            raise ValueError(f"faults.{problem.path}: {problem.message}") from None

    @classmethod
    def of(cls, text: str) -> Reply:
        """Returns a reply that says a text, word by word: each word is one token."""
        return cls(*_WORDS.findall(text))


def deltas_of(part: str | Reasoning | Refusal | ToolCall, call_index: int) -> tuple[Delta, ...]:
    """Returns what an engine sends for a part. A tool call comes in two pieces."""
    match part:
        case str():
            return (Delta(text=part, count=1),)
        case Reasoning():
            return (Delta(reasoning=part.text, count=1),)
        case Refusal():
            return (Delta(refusal=part.text, count=1),)
    arguments = part.arguments if isinstance(part.arguments, str) else json.dumps(part.arguments)
    head = ToolCallFragment(call_index=call_index, id=part.id, function_name=part.name)
    rest = ToolCallFragment(call_index=call_index, arguments=arguments)
    return (Delta(fragments=(head,), count=1), Delta(fragments=(rest,), count=0))


def _finish_reason(name: str) -> FinishReason:
    allowed = [reason.name for reason in FinishReason if reason not in _NOT_ENDS]
    if name not in allowed:
        raise ValueError(f"finish: {name!r} is not how an engine ends; allowed are: {', '.join(allowed)}")
    return FinishReason[name]
