"""What coalescing saves: CPU per token, and the latency of a token, with output at most once an interval.

The servers alternate in front of a scripted engine, at 60 streams of 30 tokens a second and at 10,000 tokens
a second.
Takes about two minutes. Prints a table, and exits with 1 if a stream differed from what the engine had sent.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from bench import machine, report
from bench.pair import ROUNDS, figures, servers
from bench.run import SCENARIOS, Bench

INTERVALS = (0.0, 0.02, 0.05)
_NAMES = ("paced", "flood")


def main() -> int:
    """Runs both loads on all servers, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=_NAMES, help="run only this scenario")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(_NAMES)
    console = Console(width=None if sys.stdout.isatty() else 120)
    facts = machine.facts()
    with TemporaryDirectory() as folder:
        options = {}
        for interval in INTERVALS:
            path = Path(folder, f"{interval}.toml")
            path.write_text(f"[limits]\nflush_interval = {interval}\n")
            options[f"{interval * 1000:.0f} ms"] = ["--config", str(path)]
        with servers(options) as (engine, relays), console.status("starting") as status:
            bench = Bench(engine, relays, status.update)
            found = {name: figures(bench, dict.fromkeys(options, SCENARIOS[name][""])) for name in names}
    table = Table(title="At most one message per interval and stream")
    for heading in ("", "interval", "CPU µs a token", "latency p50, ms", "p99, ms"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, by_interval in found.items():
        for interval, row in by_interval.items():
            table.add_row(
                name,
                interval,
                f"{row['cpu_us_per_token']:.1f}",
                f"{row['latency_p50_us'] / 1e3:.1f}",
                f"{row['latency_p99_us'] / 1e3:.1f}",
            )
    console.print(table)
    console.print(f"{ROUNDS} rounds; load average {facts['loadavg'][0]} before", style="dim")
    return 1 if report.checks(found)["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
