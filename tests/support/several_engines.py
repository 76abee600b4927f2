"""A server with one model on two scripted engines. Engine `a` has the higher priority."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.harness import Served, serving
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text, UsageChunk
from tests.support.wire_dialects import OPENAI
from tokengrpc.config import EngineSettings, engine_settings, model_settings
from tokengrpc.core.ports.observer import GenerationEnded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.wire_dialects import Dialect
    from tokengrpc.core.pooled_engine import PooledEngine
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.observer import Observer, ObserverEvent
    from tokengrpc.core.routing import EnginePool

ANSWER = (Text("Well", " said"), Finish(), UsageChunk(), Done())


class Ended:
    """An observer that keeps the usage records of generations that ended."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []

    def on_event(self, event: ObserverEvent) -> None:
        """Keeps the record of an ended generation."""
        if isinstance(event, GenerationEnded):
            self.records.append(event.record)


@dataclass
class Two:
    """Both engines, the server in front of them, and the observer of ended generations."""

    a: ScriptedEngine
    b: ScriptedEngine
    server: Served
    ended: Ended

    @property
    def pool(self) -> EnginePool:
        """The model's pool."""
        assert self.server.server.catalog is not None
        return self.server.server.catalog.resolve("").pool

    @property
    def engines(self) -> dict[str, PooledEngine]:
        """The pool's engines by name."""
        return {pooled.engine.name: pooled for pooled in self.pool.engines}


def engine(name: str, **more: Any) -> EngineSettings:
    """Returns the settings of an engine without health checks."""
    settings = {"kind": "openai", "api": "chat", "health_check_interval": 0.0, **more}
    return engine_settings(name=name, **settings)


@asynccontextmanager
async def two_engines(
    *,
    of_a: dict[str, Any] | None = None,
    of_b: dict[str, Any] | None = None,
    dialect: Dialect = OPENAI,
    observers: tuple[Observer, ...] = (),
    **settings: Any,
) -> AsyncIterator[Two]:
    """Starts both engines and the server. Engine `b` answers with ANSWER by default."""
    async with ScriptedEngine(dialect) as a, ScriptedEngine(dialect) as b:
        b.script(*ANSWER)
        engines = (
            engine("a", **({"base_url": a.base_url} | (of_a or {}))),
            engine("b", **({"base_url": b.base_url, "priority": 1} | (of_b or {}))),
        )
        ended = Ended()
        model = model_settings(name="m", engines=engines)
        async with serving(model, observers=(ended, *observers), **settings) as server:
            yield Two(a, b, server, ended)
