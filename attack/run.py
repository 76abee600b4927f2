"""Attacks a server in every way of `catalog`, one after another, beside a good client.

Takes about twenty minutes, because each attack is also run on a bare grpc.aio server, to compare with. Prints
a table and writes JSON to `bench/results/`. Exits with 1 if the good client lost a call, the engine was asked
in vain, something was left over, or a p99 missed its target.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import uvloop
from rich.console import Console
from rich.table import Table

from attack import http2_spec
from attack.arena import Phases, arena, bare_arena, p99
from attack.catalog import ATTACKS
from bench import machine
from bench.run import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from attack.arena import Result

_RESULTS = ROOT / "bench" / "results"
_MIB = 1 << 20


async def run(names: Sequence[str], phases: Phases, tell: Callable[[str], None]) -> list[Result]:
    """Runs attacks, each on a server of its own, and on a bare grpc.aio server."""
    results = []
    for number, name in enumerate(names, 1):
        tell(f"{name}, {number} of {len(names)}")
        async with arena() as running:
            result = await running.run(name, phases)
        async with bare_arena() as bare:
            result.bare, _, _ = await bare.beside(name, phases)
        results.append(result)
    return results


def table(results: list[Result]) -> Table:
    """Returns a table with a row for each attack."""
    shown = Table(title="The good client beside each attack, and what the attack cost the server")
    columns = ("calls", "failed", "p99 quiet ms", "during", "after", "times", "bare")
    columns += ("in vain", "MiB before", "peak", "after")
    shown.add_column("attack", no_wrap=True)
    for column in (*columns, "actions", "closed", ""):
        shown.add_column(column, justify="right")
    for result in results:
        phases = (result.quiet, result.during, result.after)
        times = [f"{p99(calls) * 1e3:,.0f}" for calls in phases]
        memory = [f"{result.memory[name] / _MIB:,.0f}" for name in ("before", "peak", "after")]
        counts = result.counts
        shown.add_row(
            result.attack,
            str(sum(map(len, phases))),
            str(len(result.failed)),
            *times,
            f"{result.ratio:.1f}",
            f"{result.bare.ratio:.1f}" if result.bare is not None else "",
            str(result.in_vain),
            *memory,
            f"{counts.actions:,}",
            f"{counts.closed:,}",
            "[red]miss[/red]" if result.broken or result.missed else "[green]held[/green]",
        )
    return shown


def main() -> int:
    """Runs all attacks, or those that the arguments name, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", action="append", choices=ATTACKS, help="run this attack; may be repeated")
    parser.add_argument("--quiet", type=float, default=Phases.quiet, help="seconds before each attack")
    parser.add_argument("--seconds", type=float, default=Phases.attack, help="seconds of each attack")
    parser.add_argument("--after", type=float, default=Phases.after, help="seconds after each attack")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    facts = machine.facts()
    phases = Phases(quiet=arguments.quiet, attack=arguments.seconds, after=arguments.after)
    with console.status("starting") as status:
        results = uvloop.run(run(arguments.only or list(ATTACKS), phases, status.update))
        spec = None if arguments.only else http2_spec.compare()
    facts["loadavg_after"] = machine.facts()["loadavg"][0]
    console.print(table(results))
    found = [(result.attack, line) for result in results for line in (*result.broken, *result.missed)]
    if spec is not None:
        console.print(spec.summary)
        found += [("h2spec", line) for line in spec.worse]
    for name, line in found:
        console.print(f"{name}: {line}", soft_wrap=True)
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"attack-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    told = {"machine": facts, "phases": asdict(phases), "attacks": [asdict(result) for result in results]}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
