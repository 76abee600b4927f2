"""Calls that the server's own acceptors have accepted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.support.harness import collect, serving
from tokengrpc.config import model_settings

CALLS = 200
NOTHING = 1e-9
"""Share of a core that no generation fits into."""


async def test_a_rejected_call_has_no_task_that_waits_for_its_caller():
    """Its handler does not wait, so it ends before such a task would begin. grpc.aio itself makes one."""
    limits = {"min_generations": 0, "max_core_share": NOTHING}
    async with serving(model_settings(name="m"), limits=limits) as server:
        made: Counter[str] = Counter()

        def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            made[coroutine.__qualname__] += 1
            return asyncio.Task(coroutine, loop=loop, **options)

        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        try:
            outcomes = await asyncio.gather(*(collect(server.stream(f"g{n}")) for n in range(CALLS)))
        finally:
            loop.set_task_factory(None)
    assert Counter(outcome.info.reason for outcome in outcomes) == {"OVERLOADED": CALLS}
    watching = {name: count for name, count in made.items() if "cancel" in name or "schedule_rpc" in name}
    assert sum(watching.values()) < CALLS / 4, made
