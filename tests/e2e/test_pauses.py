"""A server that keeps thousands of ended generations has few full garbage collections."""

from __future__ import annotations

import subprocess
import sys

GROW = """
import gc
from tokengrpc import process

{prepare}
full = 0

def count(phase, info):
    global full
    full += phase == "start" and info["generation"] == 2

gc.callbacks.append(count)
kept = [[] for _ in range(500_000)]
print(full, gc.get_freeze_count() > 0)
"""


def grown(prepare: str) -> list[str]:
    code = GROW.format(prepare=prepare)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()


def test_full_collections_are_rare():
    """Half a million more objects cause none. Python's defaults would cause several."""
    assert grown("process.make_pauses_rare()") == ["0", "True"]
    often, _ = grown("")
    assert int(often) > 1
