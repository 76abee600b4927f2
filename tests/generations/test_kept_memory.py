"""What is kept of ended generations is small, and goes when its replay time is over."""

from __future__ import annotations

import gc

from bench.memory import generate
from tests.support.harness import serving, until
from tests.support.live_objects import live_objects, without_collector

COUNT = 300
TOKENS = 3
# What is left of a generation for the collector to look at: some have been 30 and more.
MOST_OBJECTS = 12


async def test_few_objects_are_kept_of_a_generation() -> None:
    """A full collection looks at a dozen objects of each, not at one per event."""
    async with serving() as server:
        await generate(server.registry, 20, TOKENS)
        gc.collect()
        before = len(gc.get_objects())
        await generate(server.registry, COUNT, TOKENS)
        gc.collect()
        assert len(server.tasks) == COUNT + 20
        assert len(gc.get_objects()) - before < MOST_OBJECTS * COUNT


async def test_nothing_grows_from_one_replay_time_to_the_next() -> None:
    """With the collector disabled, as many objects are left after many generations as after few."""
    async with serving(limits={"replay_ttl": 0.2}) as server:

        async def forgotten(count: int) -> int:
            await generate(server.registry, count, TOKENS)
            await until(lambda: not server.tasks, "all are forgotten")
            return sum(live_objects().values())

        await forgotten(20)
        with without_collector():
            few = await forgotten(20)
            assert await forgotten(COUNT) == few
