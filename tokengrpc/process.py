"""A server as a process: its signals, event loop, logs, garbage collection and exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from tokengrpc.server import Server
from tokengrpc.telemetry.logs import logs_to_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.config import Settings

_EXIT_GRACE = 2.0
"""Seconds that a plugin's thread may take after everything else has stopped."""
_FULL_COLLECTION_OBJECTS = 1_000_000
"""Number of new objects that triggers a full garbage collection."""

log = structlog.get_logger(__name__)


def make_pauses_rare() -> None:
    """Makes full garbage collections rare, because each stops every stream for a microsecond per object.

    Objects that exist at start are excluded from collections. Of later objects, most belong to generations
    that are kept for replay; by default, Python would scan them all whenever they have grown by a quarter.
    Collections of young objects are not affected, and nearly all objects are freed without a collection.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _FULL_COLLECTION_OBJECTS // (young * middle))


async def serve(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then drains. A second signal stops the server at once."""
    server = Server(settings)
    signals: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number.name)
    try:
        await server.start()
        make_pauses_rare()
        host = settings.listen.rpartition(":")[0]
        address = f"{host}:{server.port}"
        print(f"listening on {address}", flush=True)
        if on_ready is not None:
            on_ready(address)
        name = await signals.get()
        log.info(
            "draining: running generations may finish; a second signal stops the server at once",
            signal=name,
            generations=server.registry.active,
            seconds=settings.limits.drain_time,
        )
        drain = asyncio.ensure_future(server.drain(settings.limits.drain_time))
        again = asyncio.ensure_future(signals.get())
        await asyncio.wait({drain, again}, return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, again):
            task.cancel()
    finally:
        await server.stop()


def run(settings: Settings, on_ready: Callable[[str], None] | None = None) -> int:
    """Serves in a new event loop, as the last thing that this process does. Returns the exit code.

    The process ends soon after, even if a thread of a plugin hangs. Raises ConfigError, StoreUnavailable.
    """
    with logs_to_stderr(settings.log_level, settings.log_format):

        async def main() -> None:
            code = 1
            try:
                await serve(settings, on_ready)
                code = 0
            finally:
                _exit_soon(code)

        if sys.platform == "win32":
            asyncio.run(main())
            return 0
        import uvloop  # noqa: PLC0415 - not available on every platform

        uvloop.run(main())
        return 0


def _exit_soon(code: int) -> None:
    """Ends the process after a grace period, even if the interpreter would wait for threads that hang."""

    def leave() -> None:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)

    timer = threading.Timer(_EXIT_GRACE, leave)
    timer.daemon = True
    timer.start()
