"""Servers that share an event store and a ledger, before one engine, in processes to be killed and paused."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

from tests.support.engine_kills import Nursery
from tests.support.killed_server import KilledServer
from tests.support.ports import reserved_port
from tests.support.replica_chaos.stores import ChaosStore
from tokengrpc import TokenStreamClient
from tokengrpc.client.policy import ResumePolicy

if TYPE_CHECKING:
    from collections.abc import Collection

LEASE = 1.0
LIMITS = "withdrawal_time = 0"
PATIENCE = ResumePolicy(patience=60.0)
_WARNINGS = 100
_ROUND_ROBIN: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
_SETTINGS = """
server_name = "{name}"
store = "{store}"
ledger = "{ledger}"
log_level = "info"
observers = []

[limits]
min_generations = 1_000_000
max_engine_attempts = 100
replay_ttl = 60.0
store_timeout = 2.0
store_retry_time = 30.0
{limits}

[plugins.redis]
lease = {lease}

[plugins.postgresql]
lease = 2

[[models]]
name = "m"

[[models.engines]]
name = "engine"
kind = "openai"
dialect = "vllm"
base_url = "http://127.0.0.1:{engine}/v1"
"""


class Fleet:
    """The servers, their store and their engine. All of them end when the block exits."""

    def __init__(self, ledger: str, *, count: int = 2, pace: float = 0.02, limits: str = LIMITS) -> None:
        """`ledger` is the URL of a database that all servers use, `pace` the mean seconds of a chunk.

        `limits` are more lines of the settings' table of limits. `kills` are the times of kills so far.
        """
        self._ledger = ledger
        self._count = count
        self._pace = pace
        self._limits = limits
        self._stack = AsyncExitStack()
        self.store = ChaosStore(count)
        self.servers: list[KilledServer] = []
        self.kills: list[float] = []

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="tokengrpc-replicas-")))
        await enter(self.store)
        nursery = await enter(Nursery(self._pace))
        engine = reserved_port()
        await nursery.start(engine)
        for number in range(self._count):
            settings = _SETTINGS.format(
                name=f"server-{number}",
                store=self.store.url(number),
                ledger=self._ledger,
                lease=LEASE,
                engine=engine,
                limits=self._limits,
            )
            server = KilledServer(folder / str(number), settings)
            self._stack.push_async_callback(_kill, server)
            await server.spawn()
            self.servers.append(server)
        for server in self.servers:
            await server.serve()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def client(self) -> TokenStreamClient:
        """Returns a client that uses all servers in turn."""
        addresses = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return TokenStreamClient(f"ipv4:{addresses}", service_config=_ROUND_ROBIN, policy=PATIENCE)

    def client_of(self, number: int) -> TokenStreamClient:
        """Returns a client of one server alone."""
        return TokenStreamClient(f"127.0.0.1:{self.servers[number].port}", policy=PATIENCE)

    async def kill(self, number: int) -> None:
        """Kills a server, and starts it again."""
        server = self.servers[number]
        self.kills.append(time.time())
        await server.end(signal.SIGKILL)
        await server.spawn()
        await server.serve()

    async def restart(self, number: int) -> int:
        """Ends a server with SIGTERM, and starts it again. Returns its exit code."""
        server = self.servers[number]
        code = await server.end(signal.SIGTERM)
        await server.spawn()
        await server.serve()
        return code

    async def pause(self, number: int, seconds: float) -> None:
        """Stops a server's process for some seconds."""
        self.servers[number].signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.servers[number].signal(signal.SIGCONT)

    async def end(self) -> list[int]:
        """Ends all servers with SIGTERM. Returns their exit codes."""
        return await asyncio.gather(*(server.end(signal.SIGTERM) for server in self.servers))

    def logs(self, generation_ids: Collection[str]) -> str:
        """Returns what the servers logged about some generations, and their last warnings, for reports."""
        named = [f'"generation_id": "{each}"' for each in generation_ids]
        found = []
        for number, server in enumerate(self.servers):
            lines = server.log().splitlines()
            about = {line for line in lines if any(name in line for name in named)}
            about.update([line for line in lines if '"level": "info"' not in line][-_WARNINGS:])
            found += [f"server {number}: {line}" for line in lines if line in about]
        return "\n".join(sorted(found, key=_time)) + "\n"


def _time(line: str) -> str:
    """Returns the time of a logged line, after those without one."""
    return line.rpartition('"timestamp": ')[2]


async def _kill(server: KilledServer) -> None:
    if server.alive:
        await server.end(signal.SIGKILL)
