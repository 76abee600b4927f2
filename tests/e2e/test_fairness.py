"""Tenants and priorities that compete for few slots. The engine's calls tell which request was served."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from tokenstreaming.v1 import input_pb2

from tests.support.harness import Served, collect, read_until, serving, until, upstream
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text, UsageChunk
from tokengrpc.config import TenantSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SLOTS = 8
PREFILL = 0.1
INTERACTIVE, STANDARD, BATCH = (
    input_pb2.PRIORITY_INTERACTIVE,
    input_pb2.PRIORITY_STANDARD,
    input_pb2.PRIORITY_BATCH,
)


@dataclass
class Works:
    """A step of an engine that takes some time, in seconds, which varies by `spread`."""

    seconds: float
    spread: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(7))

    async def run(self, call) -> None:
        await asyncio.sleep(self.seconds + self.spread * (self.random.random() - 0.5))


class Busy:
    """A server, and callers that start the next request whenever the last one has ended."""

    def __init__(self, server: Served, engine: ScriptedEngine) -> None:
        self.server = server
        self.engine = engine
        self.pool = server.server.catalog.resolve("").pool
        self.callers: list[asyncio.Task] = []
        self.stopping = False

    def call(self, name: str, **fields):
        """Calls as the tenant of this name, if there is one; the prompt is the name."""
        metadata = (("authorization", f"Bearer key-{name}"),)
        return self.server.stream(prompt=name, metadata=metadata, **fields)

    async def flood(self, name: str, callers: int, **fields) -> None:
        """Starts callers, and returns when all slots are taken and most of the callers wait."""

        async def caller() -> None:
            while not self.stopping:
                assert (await collect(self.call(name, **fields))).text == "Well"

        before = self.pool.waiting
        self.callers += [asyncio.ensure_future(caller()) for _ in range(callers)]
        # Not all of them, because some have just been served.
        await until(lambda: self.pool.waiting >= (before + callers) / 2)

    async def served(self, number: int) -> list[str]:
        """Returns the prompts of the next calls that the engine receives."""
        first = len(self.engine.calls)
        await until(lambda: len(self.engine.calls) >= first + number)
        return [call.body["messages"][-1]["content"] for call in self.engine.calls[first : first + number]]

    async def first_token(self, name: str) -> float:
        """Returns the seconds to the first token of a request."""
        began = perf_counter()
        call = self.call(name)
        await read_until(call, lambda message: message.tokens)
        seconds = perf_counter() - began
        await collect(call)
        return seconds


@asynccontextmanager
async def busy_server(
    engine: ScriptedEngine, monkeypatch, *tenants: TenantSettings, slots: int = SLOTS
) -> AsyncIterator[Busy]:
    for tenant in tenants:
        monkeypatch.setenv(tenant.key_env, f"key-{tenant.name}")
    async with serving(upstream(engine.base_url, max_connections=slots), tenants=tenants) as server:
        busy = Busy(server, engine)
        try:
            yield busy
        finally:
            busy.stopping = True
            for caller in busy.callers:
                caller.cancel()
            await asyncio.gather(*busy.callers, return_exceptions=True)


def tenant(name: str, **more) -> TenantSettings:
    return TenantSettings(name=name, key_env=f"KEY_{name.upper()}", **more)


async def test_a_flood_hardly_delays_another_tenant(engine: ScriptedEngine, monkeypatch) -> None:
    """With ten times as many requests as slots, another tenant waits at most twice as long (median)."""
    engine.script(Works(PREFILL), Text("Well"), Works(PREFILL, PREFILL), Finish(), UsageChunk(), Done())
    async with busy_server(engine, monkeypatch, tenant("flood"), tenant("other")) as busy:
        idle = [await busy.first_token("other") for _ in range(9)]
        await busy.flood("flood", 10 * SLOTS)
        await busy.served(2 * SLOTS)
        loaded = [await busy.first_token("other") for _ in range(25)]
    assert median(loaded) <= 2 * median(idle)


async def test_weights_are_shares(engine: ScriptedEngine, monkeypatch) -> None:
    """Weights of 3 and 1 give three times as many places, within a tenth."""
    engine.script(Text("Well"), Works(0.01), Finish(), UsageChunk(), Done())
    async with busy_server(engine, monkeypatch, tenant("big", weight=3), tenant("small"), slots=2) as busy:
        await busy.flood("small", 30)
        await busy.flood("big", 30)
        await busy.served(8)
        served = Counter(await busy.served(200))
    assert served["big"] / served["small"] == pytest.approx(3, rel=0.1)


async def test_interactive_goes_first_and_nobody_starves(engine: ScriptedEngine, monkeypatch) -> None:
    """Under a flood of interactive requests, standard and batch each get about one of twenty places."""
    engine.script(Text("Well"), Works(0.01), Finish(), UsageChunk(), Done())
    async with busy_server(engine, monkeypatch, slots=2) as busy:
        await busy.flood("batch", 20, priority=BATCH)
        await busy.flood("standard", 20, priority=STANDARD)
        await busy.flood("interactive", 30, priority=INTERACTIVE)
        await busy.served(8)
        served = Counter(await busy.served(200))
    assert served["interactive"] == pytest.approx(180, abs=6)
    assert served["standard"] == pytest.approx(10, abs=3)
    assert served["batch"] == pytest.approx(10, abs=3)
