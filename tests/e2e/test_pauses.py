"""A server's full garbage collections are made while it is idle, or if memory leaks; young ones are small."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc, itertools, weakref
from collections import deque
from tokengrpc.garbage import Collector

counts = [0, 0, 0]

def count(phase, info):
    counts[info["generation"]] += phase == "start"

class Cyclic:
    def __init__(self):
        self.itself = self

async def main():
    {start}
    gc.callbacks.append(count)
    {act}
    print(*counts, gc.get_freeze_count() > 0)

asyncio.run(main())
"""


def collections(act: str, start: str = "") -> tuple[int, int, int, bool]:
    """Runs a program. Returns how many young, middle and full collections it made, and if it froze any."""
    code = PROGRAM.format(act=act, start=start or "pass")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    *counts, frozen = done.stdout.splitlines()[-1].split()  # after a warning, if there is one
    young, middle, full = map(int, counts)
    return young, middle, full, frozen == "True"


def test_there_are_no_full_collections_under_load() -> None:
    """Half a million more objects cause none. Python's defaults would cause several."""
    grow = "kept = [[] for _ in range(500_000)]; await asyncio.sleep(0.05)"
    busy = "Collector(lambda: 1, lambda: 0, interval=0.001).start()"
    assert collections(grow, busy)[2:] == (0, True)
    between_two = "Collector(lambda: 0, itertools.count().__next__, interval=0.001).start()"
    assert collections(grow, between_two)[2:] == (0, True)
    often = collections(grow)[2]
    assert often > 1


STEADY = """admitted = 0
    kept = deque([[] for _ in range(10_000)], maxlen=10_000)
    {start}
    counts[:] = 0, 0, 0
    while {goes_on}:
        kept.extend([] for _ in range(16))
        admitted += 1
        await asyncio.sleep(0)"""


def test_young_collections_follow_the_number_of_generations() -> None:
    """Python makes none then, and its next one would look at everything since the last."""
    start = "Collector(lambda: 1, lambda: admitted, sweep_interval=0.001).start()"
    young, middle, full, _ = collections(STEADY.format(start=start, goes_on="counts[1] < 5"))
    assert (young, middle, full) == (15, 5, 0)
    without = STEADY.format(start="", goes_on="admitted < 10_000")
    assert collections(without)[:3] == (0, 0, 0)


@pytest.mark.parametrize(
    "collector",
    [
        "Collector(lambda: 0, lambda: 0, interval=0.001)",
        "Collector(lambda: 1, lambda: 0, interval=0.001, growth_blocks=100_000)",
    ],
    ids=["idle", "grown"],
)
def test_cycles_are_freed_in_the_end(collector: str) -> None:
    """An idle server collects, and so does one whose memory grows and grows."""
    act = """old = Cyclic()
    gc.collect()
    old = weakref.ref(old)
    kept = [[] for _ in range(200_000)]
    while old():
        await asyncio.sleep(0)"""
    full = collections(act, f"{collector}.start()")[2]
    assert full >= 2
