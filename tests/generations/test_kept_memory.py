"""What is kept of ended generations is small, is left alone, and goes when its replay time is over."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from bench.memory import generate
from tests.support.harness import serving, until
from tests.support.live_objects import live_objects, without_collector

if TYPE_CHECKING:
    from collections.abc import Callable

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


def events(act: Callable[[], object]) -> int:
    """Returns how many calls and returns of functions an act makes."""
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(counted)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


async def test_what_has_ended_is_not_looked_at_in_intervals() -> None:
    """Looks at ten thousand kept generations would stop all streams for tens of milliseconds, for nothing."""
    async with serving() as server:
        registry = server.registry
        before = events(registry.sweep), events(registry.running_usage), events(registry.running)
        await generate(registry, 20, TOKENS)
        assert len(server.tasks) == 20
        assert (events(registry.sweep), events(registry.running_usage), events(registry.running)) == before
