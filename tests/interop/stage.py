"""The setup of a case: a scripted engine, a real server, a proxy that cuts connections, one driver's run."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tests.interop.crafted_server import CraftedServer, Reply
from tests.support.harness import collect, serving, until, upstream
from tests.support.scripted_engine import Call, ScriptedEngine, Step
from tests.support.tcp_proxy import TcpProxy
from tests.support.wire_dialects import VLLM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from aiohttp import web

    from tests.support.harness import Served
    from tokengrpc.generations.subscription import Subscription
    from tokengrpc.generations.task import GenerationTask

Report = dict[str, Any]


@runtime_checkable
class Act(Protocol):
    """An action of a case that is not a step of the engine's script."""

    async def happen(self, stage: Stage, call: Call | None) -> web.StreamResponse | None:
        """Runs the action. `call` is the engine's call with this script. A response ends that call."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case in words and in data, and the report of a correct client.

    `script` has the engine's steps, mixed with acts; `before` runs before the driver. With `replies`, a
    crafted server answers instead, with one reply per streaming call. `expects` has the fields of the report
    that differ from a stream without disturbance. `engine_calls` is the total number of calls to the engine,
    and `check` examines the state afterwards. A case that moves much data runs `alone`: it would delay the
    others, which have time limits.
    """

    name: str
    happens: str
    reports: str
    script: tuple[Step | Act, ...] = ()
    before: tuple[Act, ...] = ()
    replies: tuple[Reply, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    expects: Mapping[str, Any] = field(default_factory=dict)
    engine_calls: int | None = 1
    check: Callable[[Stage, Report], Any] | None = None
    alone: bool = False


@dataclass
class _Bound:
    """An act as a step of the engine's script."""

    act: Act
    stage: Stage

    async def run(self, call: Call) -> web.StreamResponse | None:
        return await self.act.happen(self.stage, call)


@dataclass
class Stage:
    """The objects of a running case. `request` is the driver's, `begun` another driver's report."""

    engine: ScriptedEngine
    served: Served
    crafted: CraftedServer
    proxy: TcpProxy
    request: dict[str, Any]
    leaving: AsyncExitStack
    others: list[Any] = field(default_factory=list)
    cut_off: set[Subscription] = field(default_factory=set)
    begun: Report = field(default_factory=dict)

    def script(self, *steps: Step | Act) -> None:
        """Sets the script of the engine's following calls."""
        self.engine.script(*map(self.bound, steps))

    def bound(self, step: Step | Act) -> Step:
        """Returns an act as a step of this stage, and a step as it is."""
        return _Bound(step, self) if isinstance(step, Act) else step

    @property
    def task(self) -> GenerationTask:
        """The newest generation."""
        return self.served.tasks[-1]

    async def handed_over(self, call: Call) -> None:
        """Waits until the server has passed everything that the engine sent to a reader."""
        await until(lambda: self._handed_over(call), "a reader got everything")

    async def delivered(self, call: Call) -> None:
        """Waits until the client's machine has received everything that the engine sent."""
        await self.handed_over(call)
        newest = call.tokens[-1].encode()
        await until(lambda: self.proxy.delivered(newest), "the client's machine has everything")

    def _handed_over(self, call: Call) -> bool:
        """Returns whether a reader has everything. This dialect reports the count with each token."""
        task = self.task
        told = task.generation.usage.output == call.token_count
        # The server may not have noticed yet that a reader's connection was cut.
        subscriptions = set(task.subscribers) - self.cut_off
        return told and any(
            subscription.cursor == task.subscribers.buffer.last_sequence for subscription in subscriptions
        )

    def cut(self) -> None:
        """Resets the connection of the server's readers."""
        self.cut_off |= set(self.task.subscribers)
        self.proxy.cut()

    async def read(self, generation_id: str, **fields: Any) -> None:
        """Starts a generation from the suite itself and reads it to its end, also if it fails."""
        await collect(self.served.stream(generation_id, **fields))


@asynccontextmanager
async def staged(case: Case) -> AsyncIterator[Stage]:
    """Sets up a case."""
    async with AsyncExitStack() as leaving:
        engine = await leaving.enter_async_context(ScriptedEngine(VLLM))
        model = upstream(engine.base_url, dialect="vllm")
        served = await leaving.enter_async_context(serving(model, limits=dict(case.limits)))
        crafted = await leaving.enter_async_context(CraftedServer(case.replies))
        port = crafted.port if case.replies else served.server.port
        proxy = await leaving.enter_async_context(TcpProxy(port))
        request = {"target": proxy.target, **case.request}
        stage = Stage(engine, served, crafted, proxy, request, leaving)
        stage.script(*case.script)
        for act in case.before:
            await act.happen(stage, None)
        yield stage


async def settle(stage: Stage) -> None:
    """Waits until no generation runs, so that leftovers can be checked."""
    async with asyncio.timeout(20):
        await stage.served.registry.wait_idle()
