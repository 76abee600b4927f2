"""Measures how late deadlines and the four clocks expire, at a client with many streams at once.

Takes about half a minute. Prints a table and writes JSON to `bench/results/`. Exits with 1 if a stream did
not end as expected, or received a message after its end; with --check, also if a target was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop
from rich.console import Console
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from bench import machine
from bench.ends import Client, End, Figures, table
from bench.run import EVERYBODY, Server
from bench.script import MODEL, Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_RESULTS = Path(__file__).resolve().parent / "results"
_RAMP_S = 1.0
DEADLINE_S: Final = 2.0
LIMIT_S: Final = 1.0
OVERSHOOT_MS: Final = 50.0
"""The target for deadlines: the p99 of a stream's end after its deadline."""
LATENESS_MS: Final = 1e3 * (0.05 * LIMIT_S + 0.1)
"""The target for clocks: 5 % of the limit plus 100 ms."""
SILENT = "silent"
"""The model whose engine never finishes a TLS handshake."""

_CONFIG = """
[[models]]
name = "{model}"
kind = "openai"
base_url = "http://{engine}/v1"

[[models]]
name = "{silent}"
kind = "openai"
base_url = "https://127.0.0.1:{port}/v1"
"""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A number of streams, their expected end, and the time from which their lateness counts."""

    name: str
    streams: int
    target_ms: float
    read: Callable[[Client, int], Awaitable[End]]
    due: Callable[[End], float]
    expected: tuple[str, str, str]
    """Code, clock and finish reason."""


def _request(
    script: Script, *, model: str = MODEL, limits: dict[str, Any], **more: Any
) -> pb.StreamTokensRequest:
    request = pb.StreamTokensRequest(model=model, prompt=script.prompt(), **more)
    for name, value in limits.items():
        if name == "deadline_action":
            request.limits.deadline_action = value
        else:
            getattr(request.limits, name).FromNanoseconds(round(value * 1e9))
    return request


_STEADY = Script(tokens=1000, rate=10.0, phase=0.5)
_NO_TOKEN = Script(tokens=2, rate=0.01, phase=0.9)
_ONE_TOKEN = Script(tokens=2, rate=0.05, phase=0.0)
_OWN = {"deadline_action": input_pb2.DEADLINE_ACTION_FAIL}
_DETACH = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)


def _deadline(streams: int) -> Scenario:
    return Scenario(
        name="deadline",
        streams=streams,
        target_ms=OVERSHOOT_MS,
        read=lambda client, _: client.read(_request(_STEADY, limits={}), DEADLINE_S),
        due=lambda end: end.start + DEADLINE_S,
        expected=("DEADLINE_EXCEEDED", "", "DEADLINE"),
    )


def _dropped(streams: int) -> Scenario:
    def read(client: Client, number: int) -> Awaitable[End]:
        request = _request(
            _STEADY, limits=_OWN, recovery=_DETACH, generation_id=f"dropped-{streams}-{number}"
        )
        return client.read_over_a_drop(request, DEADLINE_S)

    return Scenario(
        name="deadline over a drop",
        streams=streams,
        target_ms=OVERSHOOT_MS,
        read=read,
        due=lambda end: end.start + DEADLINE_S,
        expected=("DEADLINE_EXCEEDED", "", "DEADLINE"),
    )


def _clock(clock: str, limit: str, script: Script, streams: int, *, ends: tuple[str, str, str]) -> Scenario:
    model = SILENT if clock == "connect" else MODEL
    since_token = clock == "inter_token"
    return Scenario(
        name=f"clock {clock}",
        streams=streams,
        target_ms=LATENESS_MS,
        read=lambda client, _: client.read(_request(script, model=model, limits={limit: LIMIT_S})),
        due=lambda end: (end.first_token if since_token else end.start) + LIMIT_S,
        expected=ends,
    )


SCENARIOS: Final = (
    *(_deadline(streams) for streams in (10, 100, 500)),
    _dropped(100),
    _clock("connect", "connect_timeout", _STEADY, 100, ends=("UNAVAILABLE", "connect", "")),
    _clock(
        "first_token", "first_token_timeout", _NO_TOKEN, 100, ends=("UNAVAILABLE", "first_token", "ERROR")
    ),
    _clock(
        "inter_token", "inter_token_timeout", _ONE_TOKEN, 100, ends=("UNAVAILABLE", "inter_token", "ERROR")
    ),
    _clock("total", "time_limit", _STEADY, 100, ends=("OK", "", "TIME_LIMIT")),
)


async def measure(client: Client, scenario: Scenario) -> Figures:
    """Starts the streams in random order over a second, and waits for the ends of all."""
    chance = random.Random(2)
    figures = Figures(scenario.name, scenario.streams, scenario.target_ms)

    async def one(number: int) -> None:
        await asyncio.sleep(chance.random() * _RAMP_S)
        end = await scenario.read(client, number)
        figures.late_ms.append((end.end - scenario.due(end)) * 1e3)
        figures.after_end += end.after_end
        if (end.code, end.clock, end.finish_reason) != scenario.expected:
            figures.wrong.append(f"{end.code} {end.reason} {end.clock} {end.finish_reason}")

    await asyncio.gather(*(one(number) for number in range(scenario.streams)))
    return figures


def _waited_ms(server_pid: int) -> float:
    return sum(machine.run_delay_seconds(pid) for pid in (server_pid, os.getpid())) * 1e3


@contextlib.asynccontextmanager
async def _silent() -> AsyncIterator[int]:
    """Opens a port that accepts connections and sends nothing."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(1024):
                pass
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0, backlog=1024) as server:
        yield server.sockets[0].getsockname()[1]


async def run(engine: str, tell: Callable[[str], None]) -> list[Figures]:
    """Runs all scenarios, one after another, on one server."""
    async with _silent() as port:
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(_CONFIG.format(model=MODEL, engine=engine, silent=SILENT, port=port))
            config.flush()
            serve = ["-m", "tokengrpc", "serve", "--config", config.name, "--listen", "127.0.0.1:0"]
            server = await asyncio.to_thread(Server, "tokengrpc", serve, EVERYBODY)
        try:
            client = Client(server.address)
            await client.connect()
            rows = []
            for scenario in SCENARIOS:
                tell(f"{scenario.name}, {scenario.streams} streams")
                before = _waited_ms(server.pid)
                rows.append(await measure(client, scenario))
                rows[-1].waited_ms = _waited_ms(server.pid) - before
            await client.close()
        finally:
            server.stop()
    return rows


def main() -> int:
    """Runs all scenarios and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    facts = machine.facts()
    # Garbage collections of the client are not lateness of the server.
    gc.disable()
    engine = Server("the engine", ["-m", "bench.engine", "--listen", "127.0.0.1:0"])
    try:
        with (
            console.status("starting") as status,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            rows = runner.run(run(engine.address, status.update))
    finally:
        engine.stop()
    facts["loadavg_after"] = machine.facts()["loadavg"][0]
    console.print(table(rows))
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    wrong = [(row.name, row.wrong[:3]) for row in rows if row.wrong]
    for name, ends in wrong:
        console.print(f"{name}: {ends}")
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"deadlines-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    told = {"machine": facts, "deadlines": [asdict(row) for row in rows]}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    missed = any(row.p99 > row.target_ms for row in rows)
    lying = bool(wrong) or any(row.after_end for row in rows)
    return 1 if lying or (arguments.check and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
