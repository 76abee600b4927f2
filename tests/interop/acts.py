"""Actions of cases that are not steps of the engine's script: broken networks, drains, other callers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenstreaming.v1 import input_pb2

from tests.interop.drivers import DRIVERS, ready, run
from tests.support.harness import read_until, serving, until, upstream
from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from tests.interop.stage import Act, Stage
    from tests.support.scripted_engine import Call, Step

DETACH = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)


@dataclass(frozen=True)
class Cut:
    """The proxy resets the connection once what the engine sent has been delivered."""

    async def happen(self, stage: Stage, call: Call | None) -> None:
        assert call is not None
        await stage.delivered(call)
        stage.cut()


@dataclass(frozen=True)
class CutInBytes:
    """The proxy forwards this many bytes of the server, and then resets the connection."""

    count: int

    async def happen(self, stage: Stage, call: Call | None) -> None:
        stage.proxy.cut_after_bytes(self.count)


@dataclass(frozen=True)
class Vanish:
    """The network fails for good: the connection is reset, and new ones are refused."""

    after_delivery: bool = True

    async def happen(self, stage: Stage, call: Call | None) -> None:
        if self.after_delivery:
            assert call is not None
            await stage.delivered(call)
        stage.proxy.vanish()


@dataclass(frozen=True)
class LeadAway:
    """The connection is reset until the client resumes after the last event, so that it has all events.

    Then it is reset once more, and new connections lead to a server that does not know the generation, or
    that has another one, `started` under the same id.
    """

    started: str = ""

    async def happen(self, stage: Stage, call: Call | None) -> None:
        assert call is not None
        other = await stage.leaving.enter_async_context(
            serving(upstream(stage.engine.base_url, dialect="vllm"))
        )
        if self.started:
            other_reader = other.stream(self.started, recovery=DETACH)
            stage.leaving.callback(other_reader.cancel)
            await read_until(other_reader, lambda message: message.tokens)
        cursors = self._cursors(stage.served.registry)
        await stage.handed_over(call)
        while stage.task.subscribers.buffer.last_sequence not in cursors:
            await stage.delivered(call)
            stage.cut()
            await until(lambda: set(stage.task.subscribers) - stage.cut_off, "the client has come back")
        stage.proxy.lead_to(other.server.port)

    def _cursors(self, streams: Any) -> list[int]:
        """Returns a list to which the sequence of each later ResumeTokens call is added."""
        cursors: list[int] = []
        resume = streams.resume

        def resuming(tenant: Any, generation_id: str, cursor: Any, *more: Any) -> Any:
            cursors.append(cursor.sequence)
            return resume(tenant, generation_id, cursor, *more)

        streams.resume = resuming
        return cursors


@dataclass(frozen=True)
class WhenLeft:
    """The engine waits until the generation has no reader."""

    async def happen(self, stage: Stage, call: Call | None) -> None:
        await until(lambda: not stage.task.subscribers, "the reader has left")


@dataclass(frozen=True)
class BegunBy:
    """The client of a language runs first. The driver gets its cursor."""

    language: str
    request: Mapping[str, Any]

    async def happen(self, stage: Stage, call: Call | None) -> None:
        first = next(driver for driver in DRIVERS if driver.language == self.language)
        await asyncio.to_thread(ready, first)
        stage.begun = await run(first, {"target": stage.proxy.target, **self.request})
        assert stage.begun["error"] is None
        stage.request["cursor"] = stage.begun["cursor"]


@dataclass(frozen=True)
class Replaced:
    """The server drains. Once it has refused a start, connections lead to another server."""

    async def happen(self, stage: Stage, call: Call | None) -> None:
        other = await stage.leaving.enter_async_context(
            serving(upstream(stage.engine.base_url, dialect="vllm"))
        )
        draining = asyncio.ensure_future(stage.served.server.drain(60))
        stage.leaving.callback(draining.cancel)
        when_refused(stage, "open", lambda: stage.proxy.lead_to(other.server.port))


@dataclass(frozen=True)
class HoldNetwork:
    """The network delivers nothing until the server has ended the slow reader's stream."""

    async def happen(self, stage: Stage, call: Call | None) -> None:
        assert call is not None
        await stage.handed_over(call)
        stage.proxy.pause()
        watching = asyncio.ensure_future(self._let_flow(stage))
        stage.leaving.callback(watching.cancel)

    async def _let_flow(self, stage: Stage) -> None:
        await until(lambda: not stage.task.subscribers, "the reader was let go", 60)
        stage.proxy.resume()


@dataclass(frozen=True)
class Silence:
    """The engine is silent for some seconds."""

    seconds: float

    async def happen(self, stage: Stage, call: Call | None) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True)
class Stalls:
    """The engine is silent to the end. Unlike `Stall` it has no state, because a case runs in many loops."""

    async def run(self, call: Call) -> None:
        await asyncio.get_running_loop().create_future()


@dataclass(frozen=True)
class Drain:
    """The server begins to shut down and lets streams finish for some seconds."""

    seconds: float = 60.0

    async def happen(self, stage: Stage, call: Call | None) -> None:
        assert call is not None
        await stage.handed_over(call)
        draining = asyncio.ensure_future(stage.served.server.drain(self.seconds))
        stage.leaving.callback(draining.cancel)


@dataclass(frozen=True)
class CancelledElsewhere:
    """Another caller cancels the generation."""

    async def happen(self, stage: Stage, call: Call | None) -> None:
        assert call is not None
        await stage.handed_over(call)
        cancelling = asyncio.ensure_future(stage.served.cancel(stage.task.request.generation_id))
        stage.leaving.callback(cancelling.cancel)


@dataclass(frozen=True)
class Ended:
    """Another caller has read a generation to its end."""

    generation_id: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    async def happen(self, stage: Stage, call: Call | None) -> None:
        await stage.read(self.generation_id, **self.fields)


@dataclass(frozen=True)
class Reading:
    """Another caller starts a generation, reads its first token, and continues to read."""

    generation_id: str
    detached: bool = True

    async def happen(self, stage: Stage, call: Call | None) -> None:
        fields = {"recovery": DETACH} if self.detached else {}
        stream = stage.served.stream(self.generation_id, **fields)
        while not (await stream.read()).tokens:
            pass
        stage.leaving.callback(stream.cancel)
        stage.others.append(stream)


@dataclass(frozen=True)
class OthersLeave:
    """The other callers leave once the server has refused a call: `open` starts, `resume` resumes."""

    when_refused: str

    async def happen(self, stage: Stage, call: Call | None) -> None:
        when_refused(stage, self.when_refused, lambda: [stream.cancel() for stream in stage.others])


def when_refused(stage: Stage, method: str, react: Callable[[], Any]) -> None:
    """Calls `react` whenever this method of the server's registry refuses a call."""
    registry = stage.served.registry
    take = getattr(registry, method)

    def taken(*arguments: Any) -> Any:
        try:
            return take(*arguments)
        except TokenGrpcError:
            react()
            raise

    setattr(registry, method, taken)


@dataclass(frozen=True)
class InCall:
    """Steps that only the engine's n-th call does, counted from 1."""

    number: int
    step: Step | Act

    async def happen(self, stage: Stage, call: Call | None) -> web.StreamResponse | None:
        assert call is not None
        if stage.engine.calls.index(call) + 1 != self.number:
            return None
        return await stage.bound(self.step).run(call)
