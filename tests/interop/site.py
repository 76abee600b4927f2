"""The setup of a restart: a scripted engine, a server's process, and the drivers of all languages at once."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.interop.drivers import RUN_TIMEOUT, run
from tests.support.commands import running
from tests.support.harness import until
from tests.support.ports import reserved_port
from tests.support.scripted_engine import ScriptedEngine
from tests.support.tcp_proxy import TcpProxy
from tests.support.wire_dialects import VLLM

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from tests.interop.drivers import Driver
    from tests.interop.stage import Report
    from tests.support.scripted_engine import Call, Step


# An engine may wait longer for a frozen server.
_VARIABLES = {"TOKENGRPC_LIMITS_INTER_TOKEN_TIMEOUT": "300"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Restart:
    """A case in words and in data, which all languages run at the same time against one server.

    `script` returns the engine's steps for a site, and `disturb` does to the server what the case is about.
    `expects` has the fields of each report that differ from a stream without disturbance. With `begins_down`,
    there is no server when the drivers start. `timeout` is that of a driver, in seconds. A `long` case runs
    only on request.
    """

    name: str
    happens: str
    reports: str
    script: Callable[[Site], tuple[Step, ...]]
    disturb: Callable[[Site], Awaitable[None]]
    request: Mapping[str, Any] = field(default_factory=dict)
    expects: Mapping[str, Any] = field(default_factory=dict)
    begins_down: bool = False
    timeout: float = RUN_TIMEOUT
    long: bool = False


class ServerProcess:
    """A server in a process of its own, on the same port after each start."""

    def __init__(self, base_url: str) -> None:
        self.port = reserved_port()
        self._base_url = base_url
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts the process and waits until it listens."""
        engine = ("--engine", "openai", "--model", "scripted", "--base-url", self._base_url)
        api = ("--dialect", "vllm", "--api", "chat")
        listen = ("--listen", f"127.0.0.1:{self.port}", "--log-level", "error")
        self._process = self._running.enter_context(
            running("serve", *engine, *api, *listen, stderr=None, variables=_VARIABLES)
        )
        assert self._process.stdout is not None
        line = (await asyncio.to_thread(self._process.stdout.readline)).decode()
        assert line.startswith("listening on "), "the server did not start"

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kills the process with SIGKILL. Its port is free when this returns."""
        self._running.close()


class Site:
    """The objects of a running restart. Each driver has a proxy of its own.

    `reports` has each language's report, or how its driver violated the protocol.
    """

    def __init__(self, languages: Iterable[str]) -> None:
        self.engine = ScriptedEngine(VLLM)
        self.proxies = {language: TcpProxy(0) for language in languages}
        self.everyone = asyncio.Event()
        self.started_again = asyncio.Event()
        self.awake = asyncio.Event()
        self.reports: dict[str, Report | BaseException] = {}
        self._vanished = False
        self._leaving = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._leaving.enter_async_context(self.engine)
        self.server = ServerProcess(self.engine.base_url)
        self._leaving.callback(self.server.kill)
        await self.server.start()
        for proxy in self.proxies.values():
            proxy.upstream_port = self.server.port
            await self._leaving.enter_async_context(proxy)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leaving.aclose()

    async def all_called(self) -> None:
        """Waits until the engine has been called for each driver, and lets it go on for everyone at once."""
        await until(lambda: len(self.engine.calls) == len(self.proxies), "the engine was called by all", 60)
        self.everyone.set()

    async def all_have(self, text: str) -> None:
        """Waits until the machines of all drivers have received a text."""
        await until(
            lambda: all(proxy.delivered(text.encode()) for proxy in self.proxies.values()), "all have it"
        )

    async def all_knocked(self) -> None:
        """Waits until each driver has tried to connect."""
        await until(lambda: all(proxy.accepted_count for proxy in self.proxies.values()), "all knocked", 60)

    async def all_reported(self) -> None:
        """Waits until all drivers have ended."""
        await until(lambda: self.reports.keys() == self.proxies.keys(), "all have ended", 60)

    def kill(self) -> None:
        """Kills the server. Connections to its port are reset and refused, as without a proxy."""
        self.server.kill()
        self._vanished = True
        for proxy in self.proxies.values():
            proxy.vanish()

    async def start_again(self) -> None:
        """Starts another server on the same port."""
        await self.server.start()
        self.started_again.set()
        if self._vanished:
            for proxy in self.proxies.values():
                await proxy.listen()

    def freeze(self) -> None:
        """Stops the server's process. Its kernel still accepts and acknowledges."""
        self.server.signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Lets the server's process go on, and the engine as well."""
        self.server.signal(signal.SIGCONT)
        self.awake.set()


@dataclass(frozen=True)
class Await:
    """A step of the engine that waits for an event."""

    event: asyncio.Event

    async def run(self, call: Call) -> None:
        """Waits."""
        await self.event.wait()


async def run_restart(restart: Restart, drivers: Iterable[Driver]) -> Mapping[str, Report | BaseException]:
    """Runs the drivers at the same time, and returns their reports by language."""
    async with Site([driver.language for driver in drivers]) as site:
        site.engine.script(*restart.script(site))
        if restart.begins_down:
            site.server.kill()

        async def drive(driver: Driver) -> None:
            request = {"target": site.proxies[driver.language].target, **restart.request}
            try:
                site.reports[driver.language] = await run(driver, request, timeout=restart.timeout)
            except AssertionError as violation:
                site.reports[driver.language] = violation

        async with asyncio.TaskGroup() as group:
            for driver in drivers:
                group.create_task(drive(driver))
            group.create_task(restart.disturb(site))
        return site.reports
