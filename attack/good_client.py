"""A good client: a few callers that stream short answers, and compare each with its script."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.script import Script, stamps, without_stamps
from tokengrpc import Conversation, TokenStreamClient, TokenStreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CALLERS = 8
_TIMEOUT_S = 20.0
SCRIPT = Script(tokens=10, rate=50.0, stamp_every=3)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call. `failed` says what was wrong with it; empty if nothing was."""

    began: float
    seconds: float
    failed: str
    latencies_ms: list[float]
    """From the engine's write to the client's read of some tokens."""


@dataclass
class GoodClient:
    """The callers and their calls. One of them connects anew for each call."""

    target: str
    calls: list[Call] = field(default_factory=list)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Calls until the block exits. Then waits for the last calls."""
        over = asyncio.Event()
        async with TokenStreamClient(self.target) as client, asyncio.TaskGroup() as group:
            group.create_task(self._anew(over))
            for _ in range(_CALLERS - 1):
                group.create_task(self._again(client, over))
            try:
                yield
            finally:
                over.set()

    async def _again(self, client: TokenStreamClient, over: asyncio.Event) -> None:
        while not over.is_set():
            self.calls.append(await _call(client))

    async def _anew(self, over: asyncio.Event) -> None:
        while not over.is_set():
            async with TokenStreamClient(self.target) as client:
                self.calls.append(await _call(client))


async def _call(client: TokenStreamClient) -> Call:
    began, latencies = time.monotonic(), []
    conversation = Conversation().user(SCRIPT.prompt())
    text, failed = "", ""
    try:
        async with client.stream(conversation, timeout=_TIMEOUT_S) as stream:
            async for token in stream:
                now = time.monotonic_ns() // 1000
                latencies += [(now - sent) / 1000 for sent in stamps(token.text)]
                text += token.text
        if without_stamps(text) != SCRIPT.plain_text(SCRIPT.tokens):
            failed = f"the text is not what the engine sent: {text!r}"
        elif stream.finish_reason != "END":
            failed = f"it ended with {stream.finish_reason}"
    except TokenStreamError as error:
        failed = str(error)
    seconds = time.monotonic() - began
    return Call(began=began, seconds=seconds, failed=failed, latencies_ms=latencies)
