"""What logs and metrics cost: CPU per token of bursts, of servers with both, either and neither.

The servers take turns in many short windows, in front of a scripted engine, so that a busy machine changes
all of them alike. The lower quartile of the windows is the least disturbed figure. Takes about four minutes.
Prints a table, and exits with 1 if a stream differed from what the engine had sent.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from contextlib import ExitStack
from statistics import quantiles
from typing import TYPE_CHECKING

import uvloop
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.load import Run
from bench.pair import servers
from bench.run import CONNECTIONS, QUIET_CONFIG, SCENARIOS
from bench.scraping import scraped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.run import Server

NEITHER, LOGS, METRICS, BOTH = "neither", "logs", "metrics", "both"
WINDOW_S, REST_S = 0.3, 0.1
"""Seconds of bursts, and of rest in which a server writes its last lines: they belong to the window."""
ROUNDS = 120
_WARM_UP_ROUNDS = 2
_QUIET = ("--config", str(QUIET_CONFIG))
_LOGS = ("--log-level", "info", "--log-format", "json")


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def costs(
    engine: Server, relays: Mapping[str, Server], rounds: int
) -> tuple[dict[str, list[float]], int]:
    """Returns the CPU µs a token of each server by round, and the number of wrong streams."""
    job = SCENARIOS["bursts"][""] | {"connections": CONNECTIONS, "engine_pid": engine.pid}
    runs = {
        name: Run(job | {"target": relay.address, "relay_pid": relay.pid}) for name, relay in relays.items()
    }
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        await run.connect()
    names = list(runs)
    for number in range(_WARM_UP_ROUNDS + rounds):
        # Each server comes first as often as the others, in both directions.
        turn = names[number % len(names) :] + names[: number % len(names)]
        for name in turn if number % 2 else reversed(turn):
            figures = await runs[name].burst(WINDOW_S, REST_S)
            if number >= _WARM_UP_ROUNDS:
                found[name].append(figures["cpu_us_per_token"] or 0.0)
    checks = [await run.close() for run in runs.values()]
    return found, sum(check["wrong"] for check in checks)


def show(console: Console, title: str, found: Mapping[str, list[float]]) -> None:
    """Prints quartiles of the windows, and how much more they are than those of the first server."""
    table = Table(title=title)
    for heading in ("", "lower quartile", "more", "median", "more"):
        table.add_column(heading, justify="right" if heading else "left")
    base = next(iter(found.values()))
    for name, values in found.items():
        row = []
        for mine, other in list(zip(quantiles(values, n=4), quantiles(base, n=4), strict=True))[:2]:
            row += [f"{mine:.2f}", f"{(mine / other - 1) * 100:+.1f} %"]
        table.add_row(name, *row)
    console.print(table)


def main() -> int:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    before = machine.facts()["loadavg"][0]
    admin = {METRICS: _free_address(), BOTH: _free_address()}
    options = {
        NEITHER: _QUIET,
        LOGS: _LOGS,
        METRICS: (*_QUIET, "--admin-listen", admin[METRICS]),
        BOTH: (*_LOGS, "--admin-listen", admin[BOTH]),
    }
    with ExitStack() as stack:
        engine, relays = stack.enter_context(servers(options))
        for address in admin.values():
            stack.enter_context(scraped(address))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found, wrong = runner.run(costs(engine, relays, arguments.rounds))
    show(console, "Logs and metrics: CPU µs a token of bursts", found)
    after = machine.facts()["loadavg"][0]
    console.print(f"{arguments.rounds} rounds; load average {before} before, {after} after", style="dim")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
