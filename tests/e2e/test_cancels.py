"""Cancels hundreds of generations, half of them in prefill. Engine connections close, and nothing is left.

`make bench-cancels` measures the latency; no time is asserted here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.cancels import broken, measure
from tests.support.harness import read_until, serving, until, upstream
from tests.support.scripted_engine import Headers, Stall, Text

if TYPE_CHECKING:
    from tests.support.harness import Served
    from tests.support.scripted_engine import ScriptedEngine

CANCELS = 300
AT_ONCE = 60


def test_cancels_between_processes():
    """The engine sees as many cancels as were made.

    The server holds no more tasks, permits, readers or sockets.
    """
    result = measure(CANCELS, AT_ONCE, seed=1, life=(0.3, 0.9))
    assert broken(result) == []
    times = result["times_ms"]
    assert len(times["tokens"]) == CANCELS // 2
    assert len(times["prefill"]) + result["before_the_engine"] == CANCELS // 2
    assert len(times["prefill"]) > CANCELS // 4


async def test_cancels_leave_no_task_behind(engine: ScriptedEngine):
    """In one process, where every task can be counted: before and after the headers and the first token."""
    stories = {"silent": [Stall()], "headers": [Headers(), Stall()], "token": [Text("a"), Stall()]}
    for model, steps in stories.items():
        engine.script(*steps, model=model)
    models = [upstream(engine.base_url, name=name, upstream_model=name) for name in stories]
    async with serving(*models, limits={"max_generations": AT_ONCE}) as server:
        idle = len(asyncio.all_tasks())
        for turn in range(3):
            names = [(model, f"{model}-{turn}-{i}") for model in stories for i in range(AT_ONCE // 3)]
            await asyncio.gather(*(one(server, engine, model, name) for model, name in names))
            await until(lambda: server.server.admission.active == 0, "permits are released")
            await until(lambda: engine.open_connections == 0, "connections are closed")
            await until(lambda: len(asyncio.all_tasks()) <= idle, "tasks are gone")
        assert len(engine.calls) == 3 * AT_ONCE


async def one(server: Served, engine: ScriptedEngine, model: str, prompt: str) -> None:
    """Cancels one generation once it has reached the stage of its model."""
    call = server.stream(model=model, prompt=prompt)
    await until(
        lambda: any(called.body["messages"][-1]["content"] == prompt for called in engine.calls),
        "the engine was asked",
    )
    if model == "token":
        await read_until(call, lambda message: message.tokens)
    elif model == "headers":
        await read_until(call, lambda message: message.HasField("started"))
    call.cancel()
