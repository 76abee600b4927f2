"""One model on two scripted engines, `a` before `b`."""

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
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.observer import ObserverEvent

ANSWER = (Text("Well", " said"), Finish(), UsageChunk(), Done())


class Ended:
    """An observer that keeps the entries of generations that ended."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []

    def on_event(self, event: ObserverEvent) -> None:
        if isinstance(event, GenerationEnded):
            self.records.append(event.record)


@dataclass
class Two:
    """Both engines, the server before them, and what it told of ended generations."""

    a: ScriptedEngine
    b: ScriptedEngine
    server: Served
    ended: Ended

    @property
    def engines(self) -> dict[str, Any]:
        pool = self.server.server.catalog.resolve("").pool
        return {pooled.engine.name: pooled for pooled in pool.engines}


def engine(name: str, **more: Any) -> EngineSettings:
    settings = {"kind": "openai", "api": "chat", "health_check_interval": 0.0, **more}
    return engine_settings(name=name, **settings)


@asynccontextmanager
async def two_engines(
    *,
    of_a: dict[str, Any] | None = None,
    of_b: dict[str, Any] | None = None,
    dialect: Dialect = OPENAI,
    **settings: Any,
) -> AsyncIterator[Two]:
    """Starts all; `b` answers well unless the test gives it another script."""
    async with ScriptedEngine(dialect) as a, ScriptedEngine(dialect) as b:
        b.script(*ANSWER)
        engines = (
            engine("a", **({"base_url": a.base_url} | (of_a or {}))),
            engine("b", **({"base_url": b.base_url, "priority": 1} | (of_b or {}))),
        )
        ended = Ended()
        model = model_settings(name="m", engines=engines)
        async with serving(model, observers=(ended,), **settings) as server:
            yield Two(a, b, server, ended)
