"""A server as a process: its signals, event loop, logs, garbage collection and exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from tokengrpc import __version__
from tokengrpc.config.remote import RemoteEngineSettings
from tokengrpc.garbage import Collector
from tokengrpc.reloading import reload
from tokengrpc.server import Server
from tokengrpc.shortages import file_limit
from tokengrpc.telemetry.logs import logs_to_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.config import Settings
    from tokengrpc.telemetry.log_writer import LogWriter

_STOP_TIME = 8.0
"""Seconds after the drain in which the server stops, whatever hangs. Deployments allow 10 s."""

_EXIT_GRACE = 2.0
"""Seconds that a plugin's thread may take after everything else has stopped."""

_START_LOG_SECONDS = 1.0
"""Seconds that the log of the start may take to be written, before the server is called ready."""

_OWN_FILES = 100
"""Files that a server has open without any call, with some to spare."""

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
"""Signals that are handled; Windows has no SIGHUP."""

log = structlog.get_logger(__name__)


def needed_files(settings: Settings) -> int:
    """Returns how many files a server may have open: mostly its connections to engines and callers.

    A generation needs one connection to an engine behind a URL. Callers share connections: one for eight
    generations is assumed.
    """
    engines = [engine for model in settings.models for engine in model.served_engines]
    is_remote = any(isinstance(engine, RemoteEngineSettings) and engine.base_url for engine in engines)
    generations = settings.limits.max_generations
    return _OWN_FILES + generations // 8 + (generations if is_remote else 0)


def warn_of_few_files(settings: Settings) -> None:
    """Warns if the limit of open files is too low for as many generations as the settings allow."""
    limit, needed = file_limit(), needed_files(settings)
    if limit is not None and limit < needed:
        log.warning(
            "the limit of open files is too low for limits.max_generations: raise it (ulimit -n), "
            "or lower max_generations",
            limit=limit,
            needed=needed,
            max_generations=settings.limits.max_generations,
        )


def log_start(server: Server) -> None:
    """Logs what this server is: its version, its addresses, and its models with their engines and kinds."""
    settings = server.settings
    engines = {
        model.name: ", ".join(f"{engine.name} ({engine.kind})" for engine in model.served_engines)
        for model in settings.models
    }
    log.info(
        "serving",
        version=__version__,
        listen=server.address,
        **server.admin.addresses,
        models=engines,
        tenants=len(settings.tenants) or None,
    )


async def serve(
    settings: Settings,
    on_ready: Callable[[str], None] | None = None,
    reread: Callable[[], Settings] | None = None,
    log_writer: LogWriter | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then withdraws and drains. A second signal stops the server at once.

    SIGHUP reloads settings, if `reread` reads them. `log_writer` writes the log lines of the process.
    """
    server = Server(settings)
    if log_writer is not None:
        server.status.dropped_log_lines = lambda: log_writer.total_dropped
    collector = Collector(lambda: server.admission.active, lambda: server.admission.admitted)
    signals: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, signals.put_nowait, number.name)
    try:
        await server.start()
        log_start(server)
        warn_of_few_files(settings)
        collector.start()
        address = server.address
        if log_writer is not None:
            # So that the log of the start is complete for those that wait for the line on stdout.
            await asyncio.to_thread(log_writer.wait_written, _START_LOG_SECONDS)
        print(f"listening on {address}", flush=True)
        if on_ready is not None:
            on_ready(address)
        name = await _reload_until_stopped(server, signals, reread)
        _exit_after(server.withdrawal_time + settings.limits.drain_time + _STOP_TIME, 0)
        drain = asyncio.ensure_future(_drain(server, name))
        again = asyncio.ensure_future(_reload_until_stopped(server, signals, None))
        await asyncio.wait({drain, again}, return_when=asyncio.FIRST_COMPLETED)
        if not drain.done():
            _exit_after(_STOP_TIME, 0)
        for task in (drain, again):
            task.cancel()
    finally:
        collector.stop()
        await server.stop()


async def _drain(server: Server, signal_name: str) -> None:
    if server.withdrawal_time:
        log.info(
            "leaving: health checks fail, and calls are still accepted for clients that do not know it yet",
            signal=signal_name,
            seconds=server.withdrawal_time,
        )
        await server.withdraw()
        await asyncio.sleep(server.withdrawal_time)
    seconds = server.settings.limits.drain_time
    log.info(
        "draining: running generations may finish; a second signal stops the server at once",
        signal=signal_name,
        generations=server.registry.active,
        seconds=seconds,
    )
    await server.drain(seconds)


async def _reload_until_stopped(
    server: Server, signals: asyncio.Queue[str], reread: Callable[[], Settings] | None
) -> str:
    """Reloads at each SIGHUP, if `reread` is given. Returns the name of the first other signal."""
    while (name := await signals.get()) == "SIGHUP":
        if reread is not None:
            await reload(server, reread)
    return name


def run(
    settings: Settings,
    on_ready: Callable[[str], None] | None = None,
    reread: Callable[[], Settings] | None = None,
) -> int:
    """Serves in a new event loop, as the last thing that this process does. Returns the exit code.

    The process ends soon after, even if a thread of a plugin hangs. Raises ConfigError, StoreUnavailable.
    """
    with logs_to_stderr(settings.log_level, settings.log_format) as writer:

        async def main() -> None:
            code = 1
            try:
                await serve(settings, on_ready, reread, writer)
                code = 0
            finally:
                _exit_after(_EXIT_GRACE, code)

        if sys.platform == "win32":
            asyncio.run(main())
            return 0
        from tokengrpc.rpc.wake_ups import Loop  # noqa: PLC0415 - uvloop is not available on every platform

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(main())
        return 0


def _exit_after(seconds: float, code: int) -> None:
    """Ends the process after a time at the latest, even if the interpreter would wait for what hangs."""

    def leave() -> None:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
