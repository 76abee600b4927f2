"""Facts about the machine, and the CPU time of a process."""

from __future__ import annotations

import os
import platform
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def cpu_seconds(pid: int) -> float:
    """Returns the user and system time of a process and all its threads, including ended ones.

    It reads the process's CPU clock, as numbered by clock_getcpuclockid(3), to the nanosecond; /proc/PID/stat
    has steps of 10 ms. Raises OSError if there is no such process.
    """
    return time.clock_gettime(~pid << 3 | 2)


def run_delay_seconds(pid: int | str) -> float:
    """Returns how long the main thread has waited for a core. If it grows, the machine was too small."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def resident_bytes(pid: int) -> int:
    """Returns how much memory of a process is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _versions(*names: str) -> Iterator[tuple[str, str]]:
    """Yields the versions of those packages that are installed."""
    for name in names:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def facts() -> dict[str, Any]:
    """Returns what readers of the figures need to know, without names and paths."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "cpu": model[0].partition(": ")[2] if model else platform.machine(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        **dict(_versions("grpcio", "protobuf", "uvloop", "aiohttp", "openai")),
        "loadavg": [round(load, 2) for load in os.getloadavg()],
    }
