"""The cores that this process may use, and the memory that it has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_STATM = Path("/proc/self/statm")


def available_cores(group: Path = _CGROUP) -> float:
    """Returns the number of cores that the process may use, by its affinity and its container's quota."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with suppress(OSError, ValueError):  # no file, or `max` instead of a quota
        quota, period = map(int, (group / "cpu.max").read_text(encoding="ascii").split())
        cores = min(cores, quota / period)
    return cores


def resident_memory() -> int:
    """Returns the bytes of memory that the process has; 0 where that is unknown (not on Linux)."""
    with suppress(OSError):
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
