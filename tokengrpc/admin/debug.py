"""What the debug page shows: build, phase, engines, tasks, memory, and the settings without secrets."""

from __future__ import annotations

import asyncio
import gc
import platform
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google.protobuf
import grpc
import msgspec

from tokengrpc import __version__
from tokengrpc.config.report import describe

if TYPE_CHECKING:
    from tokengrpc.config import Settings
    from tokengrpc.generations.status import ServerStatus

_PROCESS = Path("/proc/self/status")
_KINDS = {"VmRSS", "VmHWM", "RssAnon", "RssFile", "RssShmem", "VmSwap"}


class Debug:
    """State of a server and its process, without ids, prompts, answers and secrets."""

    def __init__(self, settings: Settings, status: ServerStatus, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the event loop on which the server runs."""
        self._settings = settings
        self._status = status
        self._loop = loop

    def show(self) -> dict[str, Any]:
        """Returns the state, for JSON. Any thread may call this."""
        status = self._status
        return {
            "build": {
                "tokengrpc": __version__,
                "python": platform.python_version(),
                "grpcio": grpc.__version__,
                "protobuf": google.protobuf.__version__,
                "platform": platform.platform(),
            },
            "phase": status.phase.value,
            "generations": status.generations,
            "models": msgspec.to_builtins(status.models()),
            "event_loop": {"heartbeat_age_seconds": status.heartbeat_age, "lag_seconds": status.loop_lag},
            "tasks": self._tasks(),
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "memory_bytes": {**_memory(), "events_kept_for_readers": status.log_bytes},
            "garbage_collector": {"enabled": gc.isenabled(), "allocations": gc.get_count()},
            "settings": describe(self._settings).splitlines(),
        }

    def _tasks(self) -> dict[str, int]:
        """Returns the number of tasks of the event loop, by the name of their coroutine."""
        with suppress(RuntimeError):  # tasks came and went too fast to be listed
            tasks = asyncio.all_tasks(self._loop)
            return dict(Counter(_name(task) for task in tasks).most_common())
        return {}


def _name(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return str(getattr(coroutine, "__qualname__", type(coroutine).__name__))


def _memory() -> dict[str, int]:
    """Returns the kinds of memory of this process that Linux reports."""
    with suppress(OSError):
        rows = (line.split(":") for line in _PROCESS.read_text().splitlines())
        return {name: int(value.split()[0]) * 1024 for name, value in rows if name in _KINDS}
    return {}
