"""What the usage ledger costs: CPU per token and the first token, with SQLite and with the ledger in memory.

The servers alternate in front of a scripted engine, in bursts by many short windows, as in `bench.telemetry`,
beside a third one that only syncs a file as each record begins. Takes about two and a half minutes. Prints
tables, and exits with 1 if a stream differed from what the engine had sent.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from tempfile import TemporaryDirectory

import uvloop
from rich.console import Console
from rich.table import Table

from bench import machine, report, telemetry
from bench.pair import figures, servers
from bench.run import SCENARIOS, Bench

MEMORY, SYNCED, SQLITE = "memory", "memory, and a file synced", "SQLite"
ROUNDS = 50
_SCENARIOS = {
    "paced": ("cpu_us_per_token", "paced, CPU µs a token", 1),
    "first_token": ("added_ms", "first token, added ms", 2),
}


def main() -> int:
    """Runs the loads on the servers, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=["bursts", *_SCENARIOS], help="run only this scenario")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of bursts, default {ROUNDS}")
    arguments = parser.parse_args()
    names = [name for name in _SCENARIOS if arguments.only in {None, name}]
    console = Console(width=None if sys.stdout.isatty() else 120)
    before = machine.facts()["loadavg"][0]
    wrong = 0
    with TemporaryDirectory() as folder, console.status("starting") as status:
        options = {MEMORY: [], SYNCED: [], SQLITE: ["--data-dir", folder]}
        with servers(options, {SYNCED: "bench.synced_server"}) as (engine, relays):
            if arguments.only in {None, "bursts"}:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    bursts, wrong = runner.run(telemetry.costs(engine, relays, arguments.rounds))
                telemetry.show(console, "The usage ledger: CPU µs a token of bursts", bursts)
            bench = Bench(engine, relays, status.update)
            found = {
                name: figures(bench, dict.fromkeys((MEMORY, SQLITE), SCENARIOS[name][""])) for name in names
            }
    table = Table(title="The usage ledger")
    for heading in ("", MEMORY, SQLITE, ""):
        table.add_column(heading, justify="right" if heading else "left")
    for name, by_server in found.items():
        figure, what, precision = _SCENARIOS[name]
        memory, sqlite = (by_server[server][figure] for server in (MEMORY, SQLITE))
        table.add_row(
            what, f"{memory:.{precision}f}", f"{sqlite:.{precision}f}", f"{sqlite / memory:.2f} times"
        )
    if found:
        console.print(table)
    after = machine.facts()["loadavg"][0]
    console.print(f"load average {before} before, {after} after", style="dim")
    return 1 if wrong or report.checks(found)["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
