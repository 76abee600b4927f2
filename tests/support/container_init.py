"""Process 1 of a container: mounts its file systems, gives up its rights, and becomes its program.

`containers.py` runs it by path in new namespaces. Its argument is JSON, see `Spec` there. It needs only the
standard library.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

_DEVICES = ("full", "null", "random", "urandom", "zero")
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_PR_SET_NO_NEW_PRIVS = 38


def mount(*arguments: str | Path) -> None:
    """Runs `mount`."""
    subprocess.run(["mount", *arguments], check=True)


def bind(source: Path, target: Path, *, read_only: bool) -> None:
    """Shows a file or folder at another place."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount("--bind", source, target)
    if read_only:
        mount("-o", "remount,bind,ro", target)


def temporary(target: Path, mode: str = "1777") -> None:
    """Makes an empty folder in memory. By default, everyone may write to it."""
    target.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", target)


def mount_all(root: Path, spec: dict[str, Any]) -> None:
    """Mounts what a container has: devices, processes, its volumes."""
    mount("--bind", root, root)
    temporary(root / "dev", mode="755")
    for device in _DEVICES:
        bind(Path("/dev", device), root / "dev" / device, read_only=False)
    (root / "proc").mkdir(exist_ok=True)
    mount("-t", "proc", "proc", root / "proc")
    for target in spec["temporary"]:
        temporary(root / target.lstrip("/"))
    for source, target, read_only in spec["volumes"]:
        bind(Path(source), root / target.lstrip("/"), read_only=read_only)
    if spec["read_only"]:
        mount("-o", "remount,bind,ro", root)


def start_loopback() -> None:
    """A new network namespace has only the loopback device, which is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


def main(spec: dict[str, Any]) -> None:
    """Becomes the program of the container."""
    root = Path(spec["root"])
    mount_all(root, spec)
    if spec["offline"]:
        start_loopback()
    os.chroot(root)
    os.chdir(spec["folder"])
    user, _, group = spec["user"].partition(":")
    os.setgroups([])
    os.setgid(int(group or 0))
    os.setuid(int(user))
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.execvpe(spec["command"][0], spec["command"], spec["environment"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
