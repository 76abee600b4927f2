"""The memory that this process may use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def memory_limit(groups: Path = _GROUPS, own_groups: Path = _OWN_GROUPS) -> int | None:
    """Returns the lowest limit in bytes of the process's control groups (versions 1 and 2) and the machine.

    None where that is unknown, as on systems other than Linux.
    """
    limits = [limit for file in _limit_files(groups, own_groups) if (limit := _read(file)) is not None]
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=None)


def _limit_files(groups: Path, own_groups: Path) -> list[Path]:
    """Returns the files with limits: of the process's groups, and of those that contain them.

    In a container, the group that /proc names is often not mounted, but the container's own is at the top.
    """
    lines: list[str] = []
    with suppress(OSError):
        lines = own_groups.read_text().splitlines()
    files = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "":
            top, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = top / path.lstrip("/")
        files += [folder / name for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return files


def _read(file: Path) -> int | None:
    """Returns the limit in a file; None without a limit, which version 2 calls `max`."""
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return None
