"""What the machine is, and what a process has used of it."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads, ended ones too, to the nanosecond.

    It is the process's CPU clock, as clock_getcpuclockid(3) numbers it; /proc/PID/stat counts the same in
    steps of 10 ms. Raises OSError when there is no such process.
    """
    return time.clock_gettime(~pid << 3 | 2)


def run_delay_seconds(pid: int) -> float:
    """How long the main thread has waited for a core: where it grows, the machine was too small."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def facts() -> dict[str, Any]:
    """What a reader of the figures must know; no names and no paths."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "cpu": model[0].partition(": ")[2] if model else platform.machine(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        **{name: version(name) for name in ("grpcio", "protobuf", "uvloop", "aiohttp", "openai")},
        "loadavg": [round(load, 2) for load in os.getloadavg()],
    }
