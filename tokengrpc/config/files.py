"""Reads settings and keys from files within bounds: pipes work, and what never ends is an error."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES = 1024 * 1024
_SECONDS = 10.0


def read_bounded(file: Path) -> str:
    """Returns the text of a file or of a pipe, such as that of `<(…)` in a shell.

    Raises UnicodeDecodeError, and OSError, also if it has more than 1 MiB or does not end within 10 s.
    """
    # Without O_NONBLOCK, opening a named pipe waits for its writer.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        return _read(descriptor).decode()
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    text, deadline = bytearray(), time.monotonic() + _SECONDS
    while len(text) <= _MAX_BYTES:
        try:
            chunk = os.read(descriptor, 65536)
        except BlockingIOError:
            is_pipe = True  # or a terminal: nothing has been written yet
        else:
            if not chunk and (text or not is_pipe):
                return bytes(text)
            if chunk:
                text += chunk
                continue
        if not _wait(descriptor, deadline):
            raise OSError(errno.ETIMEDOUT, f"it has not ended within {_SECONDS:g} s; name a file that ends")
    raise OSError(errno.EFBIG, "it has more than 1 MiB, which no settings need; check its name")


def _wait(descriptor: int, deadline: float) -> bool:
    """Waits until a pipe has more text. Returns False if it has none before the deadline."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    return any(event & select.POLLIN for _, event in events)
