"""The engine that says what a test has scripted, whatever the requests ask for."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from tokengrpc.core.model import Capability, Delta
from tokengrpc.engines.simulator.engine import with_faults
from tokengrpc.testing.replies import Hold, Pause, ToolCall, deltas_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from tokengrpc.core.ports.engine import Continuation, Engine
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.testing.replies import Reply

_CONTINUATIONS = frozenset({Capability.CONTINUE_TOKEN_IDS, Capability.CONTINUE_TEXT})


class _OneReply:
    """An `Engine` that says one reply to every request."""

    kind, healthy = "scripted", True
    capabilities = frozenset(Capability) - _CONTINUATIONS

    def __init__(self, name: str, reply: Reply, admit: Callable[[int], Awaitable[None]]) -> None:
        self.name = name
        self._reply = reply
        self._admit = admit

    async def start(self) -> None:
        """See `Engine`."""

    async def close(self) -> None:
        """See `Engine`."""

    async def generate(
        self,
        request: GenerationRequest,  # noqa: ARG002 - the reply is scripted
        continue_from: Continuation | None = None,  # noqa: ARG002 - not among the capabilities
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Says the parts of the reply, each in a batch of its own."""
        yield ()
        calls = 0
        for part in self._reply.parts:
            if isinstance(part, Pause):
                await asyncio.sleep(part.seconds)
            elif isinstance(part, Hold):
                await part.pass_through()
            else:
                await self._admit(1)
                yield deltas_of(part, calls)
                calls += isinstance(part, ToolCall)
        await self._admit(0)
        yield [Delta(count=0, usage=self._reply.usage, finish=self._reply.end)]


class ScriptedEngine:
    """An `Engine` with one reply for each generation, in the order of their starts; the last one repeats.

    `requests` are those that it has received, one for each call. Further attempts of a generation get the
    same reply. `admit` is awaited with the number of tokens before they are sent.
    """

    kind, healthy = _OneReply.kind, True
    capabilities = _OneReply.capabilities

    def __init__(self, name: str, replies: Sequence[Reply], admit: Callable[[int], Awaitable[None]]) -> None:
        self.name = name
        self._admit = admit
        self.requests: list[GenerationRequest] = []
        self.script(replies)

    def script(self, replies: Sequence[Reply]) -> None:
        """Sets the replies of the generations that start from now on."""
        self._replies: list[Engine] = [
            with_faults(_OneReply(self.name, reply, self._admit), reply.faults) for reply in replies
        ]
        self._by_record: dict[str, Engine] = {}

    async def start(self) -> None:
        """See `Engine`."""

    async def close(self) -> None:
        """See `Engine`."""

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Says the next reply."""
        self.requests.append(request)
        reply = self._by_record.get(request.record_id)
        if reply is None:
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
            self._by_record[request.record_id] = reply
        async with aclosing(reply.generate(request, continue_from)) as batches:
            async for batch in batches:
                yield batch
