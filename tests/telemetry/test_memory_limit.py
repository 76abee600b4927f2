"""The memory limit is the lowest of those that hold for the process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tokengrpc.telemetry.memory_limit import memory_limit

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write(folder: Path, files: dict[str, str]) -> Path:
    """Writes files of control groups. Returns their folder."""
    for name, text in files.items():
        file = folder / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "cgroup"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "1000\n"}, 1000),
        ("0::/a/b\n", {"a/memory.max": "2000\n", "a/b/memory.max": "max\n"}, 2000),
        ("0::/a/b\n", {"a/memory.max": "2000\n", "a/b/memory.max": "1500\n"}, 1500),
        ("0::/of/the/host\n", {"memory.max": "3000\n"}, 3000),
        ("4:cpu,memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "4000\n"}, 4000),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("0::/\n", {"memory.max": f"{MACHINE * 2}\n"}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_the_lowest_limit_counts(tmp_path: Path, own: str, files: dict[str, str], expected: int) -> None:
    """Of the process's own group, those that contain it, and the machine, in versions 1 and 2."""
    groups = write(tmp_path, files)
    own_groups = tmp_path / "own"
    own_groups.write_text(own)
    assert memory_limit(groups, own_groups) == expected


def test_a_missing_file_is_no_limit(tmp_path: Path) -> None:
    """As on a system without control groups."""
    assert memory_limit(tmp_path, tmp_path / "own") == MACHINE
