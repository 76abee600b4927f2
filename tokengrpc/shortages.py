"""Shortages of this process and machine, such as open files: neither engines nor callers have a part."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

import structlog

from tokengrpc.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

FILES, ALL_FILES, MEMORY, PORTS, THREADS = (
    "open files",
    "open files of the system",
    "memory",
    "ports",
    "threads",
)

_ERRORS = {
    errno.EMFILE: FILES,
    # What glibc says now and then if a look-up of a name cannot open the files that it needs.
    errno.EBUSY: FILES,
    errno.ENFILE: ALL_FILES,
    errno.ENOMEM: MEMORY,
    errno.ENOBUFS: MEMORY,
    errno.EADDRNOTAVAIL: PORTS,
}

_ADVICE = {
    FILES: "raise the limit of this process (ulimit -n) or lower limits.max_generations",
    ALL_FILES: "raise fs.file-max",
    MEMORY: "give this process more memory or lower limits.max_generations",
    PORTS: "widen net.ipv4.ip_local_port_range or lower limits.max_generations",
    THREADS: "raise the limit of processes (ulimit -u, or pids of the container)",
}

# The words of Python's RuntimeError.
_NO_THREAD = "can't start new thread"

# While a shortage lasts, the log repeats it after this time.
_REPEAT_SECONDS = 60.0

log = structlog.get_logger(__name__)


def shortage_of(error: BaseException | None) -> str:
    """Returns what was short if that caused an error, or an empty string."""
    while error is not None:
        if isinstance(error, MemoryError):
            return MEMORY
        if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
            return THREADS
        if isinstance(error, socket.gaierror):
            # The resolver does not say why it failed, and needs files of its own.
            return MEMORY if error.errno == socket.EAI_MEMORY else no_files_left()
        if isinstance(error, OSError) and error.errno in _ERRORS:
            return _ERRORS[error.errno]
        error = error.__cause__
    return ""


def no_files_left() -> str:
    """Returns what is short if this process can open no file at this moment, or an empty string."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return _ERRORS.get(error.errno or 0, "")
    return ""


def lacks_ports(address: str, port: int) -> bool:
    """Returns whether an address that could not be connected from a free local port can be reached at all.

    The kernel reports the same for an IPv6 address on a machine without IPv6. UDP has ports of its own.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address.partition("%")[0], port))
    except OSError:
        return False
    return True


class Shortages:
    """Makes the errors for shortages, and says each of them in the log, at most once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._told: dict[str, float] = {}

    def error(self, short: str) -> Overloaded:
        """Returns the error for a call that a shortage has failed."""
        now = self._clock()
        if now - self._told.get(short, -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
            self._told[short] = now
            limit = {"limit": file_limit()} if short == FILES else {}
            log.error(
                "calls fail, because this server has run out of something",
                short=short,
                todo=_ADVICE[short],
                **limit,
            )
        return Overloaded(f"the server has no {short} left: try again shortly")


def file_limit() -> int | None:
    """Returns how many files this process may have open, or None for any number."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - not available on every platform

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


SHORTAGES = Shortages()
"""The shortages of this process."""


def overloaded(error: Exception) -> Overloaded | None:
    """Returns what to tell the caller if a shortage caused an unexpected error; None if none did."""
    short = shortage_of(error)
    return SHORTAGES.error(short) if short else None
