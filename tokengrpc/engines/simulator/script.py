"""A plan of faults as it is played: an engine's deltas, and what goes wrong with their bytes and times."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from contextlib import aclosing
from typing import TYPE_CHECKING

from tokengrpc.engines.simulator.renderer import Renderer

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from tokengrpc.config.faults import FaultSettings
    from tokengrpc.core.model import Delta
    from tokengrpc.engines.simulator.transport import Wire

    Batches = Callable[[], AsyncGenerator[Sequence[Delta], None]]

_COMMENT = b": keep-alive\n\n"
_MALFORMED = b'data: {"choices":[{"index":0,"delta":{"content":\n\n'
_NOT_UTF8 = b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n'
_ERROR = b'data: {"error":{"message":"simulated: the engine failed","type":"server_error"}}\n\n'
_HUGE_LINE_BYTES = 64 << 20  # more than any engine's settings let through
_PIECE = b" " * (64 << 10)


class _Over(Exception):
    """Nothing more is sent."""


class Script:
    """Plays a plan on one answer. `error` is what the engine behind it raised, if it did."""

    def __init__(self, plan: FaultSettings, chance: random.Random, batches: Batches) -> None:
        self.error: Exception | None = None
        self.plan = plan
        self._chance = chance
        self._batches = batches
        self._renderer = Renderer(
            usage=plan.usage,
            finish_reason=plan.finish_reason,
            odd=plan.unknown_fields,
            split=plan.split_characters,
        )
        self._wire: Wire
        self._sent = 0  # bytes of the body
        self._out = 0  # tokens
        self._stalled = False
        self._began: float | None = None
        self._breaks: tuple[tuple[int | None, Callable[[], Awaitable[None]]], ...] = (
            (plan.cut_at_token, self._cut),
            (plan.end_at_token, self._end),
            (plan.abort_at_token, lambda: self._say(self._renderer.abort())),
            (plan.error_at_token, lambda: self._say([_ERROR])),
            (plan.malformed_at_token, lambda: self._say([_MALFORMED])),
            (plan.invalid_utf8_at_token, lambda: self._say([_NOT_UTF8])),
            (plan.huge_line_at_token, self._huge_line),
        )

    async def serve(self, wire: Wire) -> None:
        """Answers one request over a wire."""
        self._wire = wire
        try:
            await self._answer()
        except (_Over, ConnectionResetError):
            pass
        except Exception as error:
            self.error = error
            wire.reset()

    async def _answer(self) -> None:
        plan = self.plan
        if plan.status:
            await asyncio.sleep(plan.accept_delay)
            complaint = {"error": {"message": "simulated", "type": "simulated", "code": plan.status}}
            await self._wire.refuse(plan.status, json.dumps(complaint).encode(), plan.retry_after)
            return
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                if self._began is None:
                    await self._accept()
                for delta in batch:
                    await self._tell(delta)
        await self._wire.end()

    async def _accept(self) -> None:
        """The engine has accepted: so says the head."""
        await asyncio.sleep(self.plan.accept_delay)
        await self._wire.send_head()
        await self._write(b"")
        await self._silence(self.plan.first_token_delay)
        self._began = asyncio.get_running_loop().time()
        await self._reached(0)

    async def _tell(self, delta: Delta) -> None:
        for event, out in self._renderer.events(delta):
            await self._keep_pace(out)
            await self._write(event)
            await self._reached(out)
        if delta.finish is not None:
            for event in self._renderer.ending(delta.finish, delta.usage):
                await self._write(event)

    async def _keep_pace(self, out: int) -> None:
        wait = self._chance.uniform(0, self.plan.jitter)
        if self.plan.pace and self._began is not None:
            due = self._began + out / self.plan.pace
            wait += max(0.0, due - asyncio.get_running_loop().time())
        if wait:
            await self._silence(wait)

    async def _reached(self, out: int) -> None:
        """So many tokens are out: what is planned for them happens."""
        plan = self.plan
        if plan.stall_at_token is not None and out >= plan.stall_at_token and not self._stalled:
            self._stalled = True
            await self._silence(plan.stall_time or math.inf)
        for at, happens in self._breaks:
            if at is not None and out >= at:
                await happens()

    async def _silence(self, seconds: float) -> None:
        """Nothing but comments, if those are planned."""
        every = self.plan.keep_alive
        while seconds > 0:
            step = min(seconds, every or 3600.0)
            await asyncio.sleep(step)
            seconds -= step
            if every:
                await self._write(_COMMENT)

    async def _write(self, data: bytes) -> None:
        """Sends a part of the body, in pieces where that is planned, up to the byte where it is cut."""
        limit = self.plan.cut_at_byte
        cut = limit is not None and self._sent + len(data) >= limit
        data = data[: limit - self._sent] if cut and limit is not None else data
        for piece in self._pieces(data):
            self._sent += len(piece)
            await self._wire.send(piece)
        if cut:
            await self._cut()

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        if self.plan.trickle:
            return [data[at : at + 1] for at in range(len(data))]
        if not self.plan.split_characters:
            return [data]
        # Before each byte that goes on with a character.
        cuts = [0, *(at for at, byte in enumerate(data) if byte & 0xC0 == 0x80), len(data)]
        return [data[begin:end] for begin, end in itertools.pairwise(cuts)]

    async def _say(self, events: Iterable[bytes]) -> None:
        for event in events:
            await self._write(event)
        await self._end()

    async def _huge_line(self) -> None:
        await self._write(b"data: ")
        for _ in range(_HUGE_LINE_BYTES // len(_PIECE)):
            await self._wire.send(_PIECE)  # not byte by byte, whatever else is planned
        await self._end()

    async def _end(self) -> None:
        await self._wire.end()
        raise _Over

    async def _cut(self) -> None:
        self._wire.reset()
        raise _Over
