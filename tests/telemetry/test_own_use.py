"""The cores that the process may use, and the memory that it has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tokengrpc.telemetry.own_use import available_cores, resident_memory

if TYPE_CHECKING:
    from pathlib import Path


def test_a_container_limits_the_cores(tmp_path: Path) -> None:
    """Half a core. Without a quota, and without such a file, the affinity counts."""
    cores = available_cores(tmp_path)
    assert cores == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == cores
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cores(tmp_path) == 0.5


def test_the_memory_of_the_process_is_known() -> None:
    """More than a MiB, and less than the machine has."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 1 << 20 < resident_memory() < machine
