"""Executes a plan of faults: writes an engine's deltas, with the planned delays and corrupted bytes."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from tokengrpc.engines.simulator.renderer import Renderer

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

    from tokengrpc.config.faults import FaultSettings
    from tokengrpc.core.model import Delta
    from tokengrpc.engines.simulator.transport import Wire

    Batches = Callable[[], AsyncGenerator[Sequence[Delta], None]]

_COMMENT = b": keep-alive\n\n"
_MALFORMED = b'data: {"choices":[{"index":0,"delta":{"content":\n\n'
_NOT_UTF8 = b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n'
_ERROR = b'data: {"error":{"message":"simulated: the engine failed","type":"server_error"}}\n\n'
_HUGE_LINE_BYTES = 64 << 20  # more than the settings of any engine allow
_HUGE_LINE_PIECE = b" " * (64 << 10)


class _ResponseEnded(Exception):
    """Raised after a planned fault has ended the response."""


class Script:
    """A simulated server's response to one request. `error` is the error that the wrapped engine raised."""

    def __init__(self, plan: FaultSettings, rng: random.Random, batches: Batches) -> None:
        self.error: Exception | None = None
        self.plan = plan
        self._rng = rng
        self._batches = batches
        self._renderer = Renderer(
            usage=plan.usage,
            finish_reason=plan.finish_reason,
            unknown_fields=plan.unknown_fields,
            split_characters=plan.split_characters,
        )
        self._wire: Wire
        self._sent = 0  # bytes of the body
        self._stalled = False
        self._pace_start: float | None = None

    async def serve(self, wire: Wire) -> None:
        """Sends the response to one request over a wire."""
        self._wire = wire
        try:
            await self._respond()
        except (_ResponseEnded, ConnectionResetError):
            pass
        except Exception as error:
            self.error = error
            wire.reset()
        finally:
            del self._wire  # which refers to this method

    async def _respond(self) -> None:
        plan = self.plan
        if plan.status:
            await asyncio.sleep(plan.accept_delay)
            complaint = {"error": {"message": "simulated", "type": "simulated", "code": plan.status}}
            await self._wire.refuse(plan.status, json.dumps(complaint).encode(), plan.retry_after)
            return
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                if self._pace_start is None:
                    await self._accept()
                for delta in batch:
                    await self._send_delta(delta)
        await self._wire.end()

    async def _accept(self) -> None:
        """Sends the response's head, which says that the engine has accepted the request."""
        await asyncio.sleep(self.plan.accept_delay)
        await self._wire.send_head()
        await self._write(b"")
        await self._stay_silent(self.plan.first_token_delay)
        self._pace_start = asyncio.get_running_loop().time()
        await self._run_faults_at(0)

    async def _send_delta(self, delta: Delta) -> None:
        for event, token_count in self._renderer.events(delta):
            await self._keep_pace(token_count)
            await self._write(event)
            await self._run_faults_at(token_count)
        if delta.finish is not None:
            for event in self._renderer.ending(delta.finish, delta.usage):
                await self._write(event)

    async def _keep_pace(self, token_count: int) -> None:
        wait = self._rng.uniform(0, self.plan.jitter)
        if self.plan.pace and self._pace_start is not None:
            due = self._pace_start + token_count / self.plan.pace
            wait += max(0.0, due - asyncio.get_running_loop().time())
        if wait:
            await self._stay_silent(wait)

    async def _run_faults_at(self, token_count: int) -> None:
        """Runs the faults that are planned after this many tokens."""
        plan = self.plan
        if plan.stall_at_token is not None and token_count >= plan.stall_at_token and not self._stalled:
            self._stalled = True
            await self._stay_silent(plan.stall_time or math.inf)
        for name, end in _ENDINGS.items():
            position = getattr(plan, name)
            if position is not None and token_count >= position:
                await end(self)

    async def _stay_silent(self, seconds: float) -> None:
        """Sends nothing but the planned comments."""
        interval = self.plan.keep_alive
        while seconds > 0:
            step = min(seconds, interval or 3600.0)
            await asyncio.sleep(step)
            seconds -= step
            if interval:
                await self._write(_COMMENT)

    async def _write(self, data: bytes) -> None:
        """Sends a part of the body in the planned pieces, and breaks the connection at the planned byte."""
        limit = self.plan.cut_at_byte
        cut = limit is not None and self._sent + len(data) >= limit
        data = data[: limit - self._sent] if cut and limit is not None else data
        for piece in self._pieces(data):
            self._sent += len(piece)
            await self._wire.send(piece)
        if cut:
            await self.cut()

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        if self.plan.trickle:
            return [data[at : at + 1] for at in range(len(data))]
        if not self.plan.split_characters:
            return [data]
        # Before each byte that continues a character.
        cuts = [0, *(at for at, byte in enumerate(data) if byte & 0xC0 == 0x80), len(data)]
        return [data[begin:end] for begin, end in itertools.pairwise(cuts)]

    async def end_with(self, *events: bytes) -> None:
        """Sends these events, and ends the body."""
        for event in events:
            await self._write(event)
        await self.end()

    async def end_with_huge_line(self) -> None:
        """Sends a line that is longer than any engine may send, and ends the body."""
        await self._write(b"data: ")
        for _ in range(_HUGE_LINE_BYTES // len(_HUGE_LINE_PIECE)):
            await self._wire.send(_HUGE_LINE_PIECE)  # never byte by byte, even if the plan says so
        await self.end()

    async def end(self) -> None:
        """Ends the body regularly, however much of the answer is missing."""
        await self._wire.end()
        raise _ResponseEnded

    async def cut(self) -> None:
        """Breaks the connection."""
        self._wire.reset()
        raise _ResponseEnded

    async def abort(self) -> None:
        """Ends the answer as an engine does that gives up."""
        await self.end_with(*self._renderer.abort())


_ENDINGS: Final[Mapping[str, Callable[[Script], Awaitable[None]]]] = {
    "cut_at_token": Script.cut,
    "end_at_token": Script.end,
    "abort_at_token": Script.abort,
    "error_at_token": lambda script: script.end_with(_ERROR),
    "malformed_at_token": lambda script: script.end_with(_MALFORMED),
    "invalid_utf8_at_token": lambda script: script.end_with(_NOT_UTF8),
    "huge_line_at_token": Script.end_with_huge_line,
}
"""What happens at the token that a plan names. Not in the script, which would refer to itself."""
