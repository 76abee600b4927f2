"""What the usage ledger costs: CPU per token and the first token, with SQLite and with the ledger in memory.

The servers alternate in front of a scripted engine. Takes about a minute and a half. Prints a table, and
exits with 1 if a stream differed from what the engine had sent.
"""

from __future__ import annotations

import argparse
import sys
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from bench import machine, report
from bench.pair import ROUNDS, figures, servers
from bench.run import SCENARIOS, Bench

MEMORY, SQLITE = "memory", "SQLite"
_NAMES = ("bursts", "paced", "first_token")


def main() -> int:
    """Runs the loads on both servers, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=_NAMES, help="run only this scenario")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(_NAMES)
    console = Console(width=None if sys.stdout.isatty() else 120)
    facts = machine.facts()
    with (
        TemporaryDirectory() as folder,
        servers({MEMORY: [], SQLITE: ["--data-dir", folder]}) as (engine, relays),
        console.status("starting") as status,
    ):
        bench = Bench(engine, relays, status.update)
        found = {name: figures(bench, dict.fromkeys((MEMORY, SQLITE), SCENARIOS[name][""])) for name in names}
    table = Table(title="The usage ledger")
    for heading in ("", MEMORY, SQLITE, ""):
        table.add_column(heading, justify="right" if heading else "left")
    for name, by_server in found.items():
        figure, what, precision = (
            ("added_ms", "first token, added ms", 2)
            if name == "first_token"
            else ("cpu_us_per_token", f"{name}, CPU µs a token", 1)
        )
        memory, sqlite = (by_server[server][figure] for server in (MEMORY, SQLITE))
        table.add_row(
            what, f"{memory:.{precision}f}", f"{sqlite:.{precision}f}", f"{sqlite / memory:.2f} times"
        )
    console.print(table)
    console.print(f"{ROUNDS} rounds; load average {facts['loadavg'][0]} before", style="dim")
    return 1 if report.checks(found)["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
