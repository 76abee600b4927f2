"""Full garbage collections of a server are made while it is idle, or if memory leaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc, itertools, weakref
from tokengrpc.garbage import Collector

full = 0

def count(phase, info):
    global full
    full += phase == "start" and info["generation"] == 2

class Cyclic:
    def __init__(self):
        self.itself = self

async def main():
    {start}
    gc.callbacks.append(count)
    {act}
    print(full, gc.get_freeze_count() > 0)

asyncio.run(main())
"""


def collections(act: str, start: str = "") -> list[str]:
    """Runs a program. Returns the number of full collections, and whether objects are frozen."""
    code = PROGRAM.format(act=act, start=start or "pass")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()[-1].split()  # after a warning, if there is one


def test_there_are_no_full_collections_under_load() -> None:
    """Half a million more objects cause none. Python's defaults would cause several."""
    grow = "kept = [[] for _ in range(500_000)]; await asyncio.sleep(0.05)"
    busy = "Collector(lambda: 1, lambda: 0, interval=0.001).start()"
    assert collections(grow, busy) == ["0", "True"]
    between_two = "Collector(lambda: 0, itertools.count().__next__, interval=0.001).start()"
    assert collections(grow, between_two) == ["0", "True"]
    often, _ = collections(grow)
    assert int(often) > 1


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
    full, _ = collections(act, f"{collector}.start()")
    assert int(full) >= 2
