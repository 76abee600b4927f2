"""Runs mixed endings on one server for a long time, and checks that nothing grows.

    python -m soak.run --seconds 600    # make soak

Exits with 1 if an ending was not as due, if memory, descriptors, tasks or threads grow, if the server holds
more in the end than before, or if it logged a line that is not expected.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import uvloop
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.cancels import held
from bench.run import ROOT, Server
from soak.kinds import KINDS, Caller
from soak.slopes import Series
from tokengrpc.client.stubs import aio_stub

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.kinds import Told

_RESULTS = ROOT / "bench" / "results"
_SETTINGS = Path(__file__).parent / "settings.toml"
_CONNECTIONS = 4
_WARM_UP: Final = 0.2
"""Share of the time before the first sample that counts."""
_SAMPLE_S = 1.0
_SETTLE_LIMIT_S = 30.0
_MIB = 1 << 20
_SLACK: Final = {"RSS MiB": 8.0, "descriptors": 8.0, "tasks": 20.0, "threads": 2.0}
"""The growth of each figure that is allowed, besides a share of its mean."""

_FAULTS: Final = "faults are injected into this engine: use for tests only"


@dataclass
class Soak:
    """What happened: endings by kind, samples of the server, and its unexpected log lines."""

    endings: dict[str, Counter[Told]] = field(default_factory=lambda: defaultdict(Counter))
    errors: list[str] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Endings that were not as due."""
        return [
            f"{kind}: {count} ended with {told}"
            for kind, endings in self.endings.items()
            for told, count in endings.items()
            if told not in KINDS[kind].due
        ] + self.errors[:5]

    @property
    def found(self) -> list[str]:
        """Everything that is wrong, slopes apart."""
        left = [f"left over: {count} {name}" for name, count in self.left.items() if count > 0]
        return [*self.wrong, *left, *(f"unexpected line: {line}" for line in self.lines[:5])]

    @property
    def growing(self) -> list[str]:
        """The figures that grow."""
        return [
            f"{series.name} grew by {series.growth:.1f}; the bound is {series.bound:.1f}"
            for series in self.series
            if series.grows
        ]


async def soak(seconds: float, callers: int, seed: int = 1, tell: Callable[[str], None] = print) -> Soak:
    """Runs endings of random kinds for so long, then waits until the server has let go of everything."""
    server = await asyncio.to_thread(
        Server, "the server", ["-m", "bench.watched_server", "--config", str(_SETTINGS)]
    )
    try:
        return await _soaked(server, seconds, callers, random.Random(seed), tell)
    finally:
        server.stop()


async def _soaked(
    server: Server, seconds: float, callers: int, chance: random.Random, tell: Callable[[str], None]
) -> Soak:
    result = Soak()
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
    channels = [grpc.aio.insecure_channel(server.address, options=options) for _ in range(_CONNECTIONS)]
    clients = [Caller(aio_stub(channel), server.address) for channel in channels]
    try:
        # Objects that the first calls of each kind create once are not left over.
        await asyncio.gather(*(_one(clients[0], kind, result) for kind in KINDS))
        await _settled(server, None)
        before = await _held(server)
        began, ends = time.monotonic(), time.monotonic() + seconds
        samples = asyncio.create_task(_sample(server, began, result))
        weights = [kind.weight for kind in KINDS.values()]

        async def caller(number: int) -> None:
            while time.monotonic() < ends:
                (kind,) = chance.choices(list(KINDS), weights)
                await _one(clients[number % _CONNECTIONS], kind, result)

        tell(f"{callers} callers for {seconds:g} s")
        await asyncio.gather(*(caller(number) for number in range(callers)))
        samples.cancel()
        await asyncio.wait({samples})
        if not samples.cancelled() and (error := samples.exception()) is not None:
            raise error
        _forget_warm_up(result, _WARM_UP * seconds)
        tell("waiting until the server has let go of everything")
        result.left = await _settled(server, before)
    finally:
        for channel in channels:
            await channel.close()
    result.lines = _unexpected(server.output())
    return result


async def _one(caller: Caller, kind: str, result: Soak) -> None:
    try:
        result.endings[kind][await KINDS[kind].run(caller)] += 1
    except Exception as error:
        result.errors.append(f"{kind}: {type(error).__name__}: {error!s:.300}")


async def _held(server: Server) -> dict[str, int]:
    return await asyncio.to_thread(held, server)


async def _sample(server: Server, began: float, result: Soak) -> None:
    """Samples the server every second, until it is cancelled."""
    result.series += [Series(name=name, slack=slack, times=[], values=[]) for name, slack in _SLACK.items()]
    while True:
        figures = await _held(server) | {"RSS MiB": machine.resident_bytes(server.pid) / _MIB}
        for series in result.series:
            series.times.append(time.monotonic() - began)
            series.values.append(figures[series.name])
        await asyncio.sleep(_SAMPLE_S)


def _forget_warm_up(result: Soak, seconds: float) -> None:
    for series in result.series:
        first = next((at for at, moment in enumerate(series.times) if moment >= seconds), 0)
        del series.times[:first], series.values[:first]


async def _settled(server: Server, before: dict[str, int] | None) -> dict[str, int]:
    """Waits until the server holds no more than before, or no permit and reader. Returns what is left."""
    until = time.monotonic() + _SETTLE_LIMIT_S
    while True:
        now = await _held(server)
        left = {name: count - (before or now)[name] for name, count in now.items()}
        left |= {name: now[name] for name in ("permits", "readers", "kept generations")}
        # gRPC keeps some of its own, which the slopes judge.
        left = {name: count for name, count in left.items() if name not in {"descriptors", "threads"}}
        if max(left.values()) <= 0 or time.monotonic() > until:
            return left
        await asyncio.sleep(0.1)


def _unexpected(output: str) -> list[str]:
    """Returns the server's log lines that are not about faults of engines, which the kinds ask for."""
    found = []
    for line in output.splitlines():
        if line.startswith(("held ", "listening on ")):
            continue
        told: dict[str, Any] = {}
        with suppress(ValueError):
            told = json.loads(line)
        reason = told.get("error_reason", told.get("reason", ""))
        if not reason.startswith("ENGINE_") and told.get("event") != _FAULTS:
            found.append(line)
    return found


def show(result: Soak, console: Console) -> None:
    """Prints the endings by kind, and the slopes."""
    endings = Table("kind", "due", "not", title="Endings")
    for name in KINDS:
        told = result.endings[name]
        due = sum(count for each, count in told.items() if each in KINDS[name].due)
        endings.add_row(name, f"{due:,}", f"{told.total() - due:,}")
    console.print(endings)
    slopes = Table("", "first", "last", "growth", "bound", title="After the warm-up, by least squares")
    for series in result.series:
        if series.values:
            ends = (series.values[0], series.values[-1], series.growth, series.bound)
            slopes.add_row(series.name, *(f"{value:,.1f}" for value in ends))
    console.print(slopes)
    console.print("left over: " + ", ".join(f"{count} {name}" for name, count in result.left.items()))


def _told(result: Soak, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": facts,
        "endings": {
            kind: {" ".join(told): count for told, count in endings.items()}
            for kind, endings in result.endings.items()
        },
        "series": {series.name: [series.times, series.values] for series in result.series},
        "left": result.left,
        "found": result.found,
        "growing": result.growing,
    }


def main() -> int:
    """Runs the soak with the arguments of the command line, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--callers", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    facts = machine.facts()
    with console.status("starting") as status:
        result = uvloop.run(soak(arguments.seconds, arguments.callers, arguments.seed, status.update))
    facts["loadavg_after"] = machine.facts()["loadavg"][0]
    show(result, console)
    for line in [*result.found, *result.growing]:
        console.print(line, soft_wrap=True)
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"soak-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(_told(result, facts), indent=1) + "\n", encoding="utf-8")
    return 1 if result.found or result.growing else 0


if __name__ == "__main__":
    sys.exit(main())
