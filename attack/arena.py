"""A server before a scripted engine, or a bare one, a good client, and one attack after another."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import quantiles
from typing import TYPE_CHECKING, Final

from attack.catalog import ATTACKS
from attack.good_client import GoodClient
from attack.raider import Counts
from bench.cancels import held, used_bytes
from bench.machine import resident_bytes
from bench.run import ROOT, Server, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from attack.good_client import Call

_SAMPLE_S = 0.05
_SETTLE_LIMIT_S = 20.0
_MIB = 1 << 20
_LEFT = ("tasks", "permits", "readers", "sockets to the engine", "descriptors")
"""What must not stay behind. Ended generations are kept for a while, and gRPC keeps some threads."""
LEFT_BYTES: Final = 48 * _MIB
"""Memory that may stay in use after an attack: ended generations are kept, and caches grow."""


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Seconds before, during and after an attack."""

    quiet: float = 5.0
    attack: float = 10.0
    after: float = 5.0


@dataclass(kw_only=True)
class Noticed:
    """The good client's calls before, during and after an attack."""

    quiet: list[Call]
    during: list[Call]
    after: list[Call]

    @property
    def failed(self) -> list[str]:
        """Why calls of the good client failed."""
        return [call.failed for call in (*self.quiet, *self.during, *self.after) if call.failed]

    @property
    def ratio(self) -> float:
        """The p99 of the calls during the attack, as a multiple of that in quiet. Infinite without calls."""
        quiet = p99(self.quiet)
        return p99(self.during) / quiet if quiet else math.inf


@dataclass(kw_only=True)
class Result(Noticed):
    """What the good client noticed of an attack, and what the server had to do for it."""

    attack: str
    counts: Counts
    in_vain: int
    """Calls of the engine that no client had asked for, or waited for."""
    memory: dict[str, int]
    left: dict[str, int] = field(default_factory=dict)
    """What the server holds more than before, by its own report."""
    bare: Noticed | None = None
    """What the good client noticed of the same attack on a bare grpc.aio server, if that was measured."""

    @property
    def broken(self) -> list[str]:
        """What is wrong, however fast the machine is."""
        found = [f"{len(self.failed)} calls failed, such as: {self.failed[0]}"] if self.failed else []
        if self.in_vain:
            found.append(f"{self.in_vain} calls of the engine in vain")
        found += [f"left over: {count} {name}" for name, count in self.left.items() if count > 0]
        more = self.memory.get("after", 0) - self.memory["before"]
        if more > LEFT_BYTES:
            found.append(f"{more / _MIB:.0f} MiB did not come back")
        return found

    @property
    def missed(self) -> list[str]:
        """Which target was missed on this machine."""
        target = ATTACKS[self.attack].p99_ratio
        if self.ratio <= target:
            return []
        beside = f"; at a bare grpc.aio server {self.bare.ratio:.1f} times" if self.bare is not None else ""
        return [
            f"p99 {p99(self.during) * 1e3:.0f} ms is {self.ratio:.1f} times that in quiet{beside};"
            f" the target is {target:g}"
        ]


def p99(calls: list[Call]) -> float:
    """Returns the p99 of the calls' durations, in seconds. Zero without calls."""
    seconds = [call.seconds for call in calls]
    return quantiles(seconds, n=100, method="inclusive")[98] if len(seconds) > 1 else sum(seconds)


class BareArena:
    """A running server, of which nothing is known but its address, and the good client."""

    def __init__(self, server: Server, client: GoodClient) -> None:
        self.server = server
        self.client = client

    async def beside(self, attack: str, phases: Phases) -> tuple[Noticed, Counts, dict[str, int]]:
        """Runs an attack between two quiet phases. Returns its counts and the memory before and at most."""
        first = len(self.client.calls)
        async with self.client.calling():
            await asyncio.sleep(phases.quiet)
            resident = {"before": await asyncio.to_thread(self.used_bytes)}
            start = time.monotonic()
            counts, resident["peak"] = await self._attack(attack, phases.attack)
            end = time.monotonic()
            await asyncio.sleep(phases.after)
        calls = self.client.calls[first:]
        noticed = Noticed(
            quiet=[call for call in calls if call.began + call.seconds < start],
            during=[call for call in calls if call.began + call.seconds >= start and call.began < end],
            after=[call for call in calls if call.began >= end],
        )
        return noticed, counts, resident

    def used_bytes(self) -> int:
        """Returns how much memory the server uses."""
        return resident_bytes(self.server.pid)

    async def _attack(self, attack: str, seconds: float) -> tuple[Counts, int]:
        """Returns the attack's counts, and the largest memory of the server meanwhile."""
        command = [sys.executable, "-m", "attack.raid", attack, self.server.address, str(seconds)]
        # Not by uvloop, whose fork runs gRPC's handlers for forks, which may crash beside running calls.
        run = partial(
            subprocess.run, command, stdout=subprocess.PIPE, cwd=ROOT, env=environment(), check=True
        )
        raid = asyncio.ensure_future(asyncio.to_thread(run))
        peak = 0
        while not raid.done():
            peak = max(peak, resident_bytes(self.server.pid))
            await asyncio.wait({raid}, timeout=_SAMPLE_S)
        return Counts(**json.loads((await raid).stdout)), peak


class Arena(BareArena):
    """The running processes and the good client."""

    def __init__(self, engine: Server, server: Server, client: GoodClient) -> None:
        super().__init__(server, client)
        self.engine = engine

    async def run(self, attack: str, phases: Phases) -> Result:
        """Runs an attack between two quiet phases. Then waits until the server has let go of everything."""
        before = await self.held()
        result = await self.raid(attack, phases)
        result.left = await self.left(before)
        result.memory["after"] = await asyncio.to_thread(self.used_bytes)
        return result

    async def raid(self, attack: str, phases: Phases) -> Result:
        """Runs an attack between two quiet phases."""
        asked = await self._engine_calls()
        noticed, counts, memory = await self.beside(attack, phases)
        calls = len(noticed.quiet) + len(noticed.during) + len(noticed.after)
        in_vain = await self._engine_calls() - asked - calls - counts.requests
        return Result(attack=attack, counts=counts, in_vain=max(0, in_vain), memory=memory, **vars(noticed))

    def used_bytes(self) -> int:
        """Returns how much memory the server uses once it has returned what it does not."""
        return used_bytes(self.server)

    async def held(self) -> dict[str, int]:
        """Returns what the server holds now."""
        return await asyncio.to_thread(held, self.server)

    async def left(self, before: dict[str, int]) -> dict[str, int]:
        """Returns what the server holds more than before, as soon as that is nothing, or after a while."""
        until = time.monotonic() + _SETTLE_LIMIT_S
        while True:
            now = await self.held()
            left = {name: now[name] - before[name] for name in _LEFT}
            if max(left.values()) <= 0 or time.monotonic() > until:
                return left
            await asyncio.sleep(_SAMPLE_S)

    async def _engine_calls(self) -> int:
        def calls() -> int:
            with urllib.request.urlopen(f"http://{self.engine.address}/v1/models", timeout=10) as answer:
                return int(json.load(answer)["calls"])

        return await asyncio.to_thread(calls)


@asynccontextmanager
async def arena() -> AsyncIterator[Arena]:
    """Starts an engine, and a server that reports what it holds."""
    engine = await asyncio.to_thread(Server, "the engine", ["-m", "bench.engine"])
    try:
        command = ["-m", "bench.watched_server", "--base-url", f"http://{engine.address}/v1", "--adaptive"]
        server = await asyncio.to_thread(Server, "the server", command)
        try:
            made = Arena(engine, server, GoodClient(server.address))
            # Objects that the first calls create once are not left over.
            await _warm_up(made.client)
            yield made
        finally:
            server.stop()
    finally:
        engine.stop()


@asynccontextmanager
async def bare_arena() -> AsyncIterator[BareArena]:
    """Starts a bare grpc.aio server, which streams the same answers."""
    server = await asyncio.to_thread(Server, "the bare server", ["-m", "attack.bare_server"])
    try:
        made = BareArena(server, GoodClient(server.address))
        await _warm_up(made.client)
        yield made
    finally:
        server.stop()


async def _warm_up(client: GoodClient) -> None:
    async with client.calling():
        await asyncio.sleep(1.0)
