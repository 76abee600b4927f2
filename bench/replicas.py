"""What an event store costs: CPU per token and the first token, with the log in Redis and in memory.

The servers alternate in front of a scripted engine; the store, on loopback, has one replica that
acknowledges each append. Then four servers share the store, each with the load that one had alone.
Takes about three minutes. Prints tables, and exits with 1 if a stream differed from what the engine had sent.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench import machine, report
from bench.pair import ROUNDS, figures, servers
from bench.run import SCENARIOS, Bench
from tests.support.redis_servers import Machines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.redis_servers import RedisServer

MEMORY, STORE = "in memory", "in the store"
TARGETS = {"first_token": 3.0, "paced": 1.6, "bursts": 2.0}
"""The most that a first token may be later, in ms, and the most times that a token may cost."""
SHARE = 0.85
"""The least share of one server's tokens per CPU second that each of several must deliver."""
REPLICAS = 4
_SHARED = SCENARIOS["paced"][""] | {"streams": 15}
_NAMES = (*TARGETS, "replicas")


class StoreCosts:
    """CPU time of the store's processes."""

    def __init__(self, stores: Sequence[RedisServer]) -> None:
        lines = [store.call("INFO", "server").decode().splitlines() for store in stores]
        self._pids = [
            int(dict(line.split(":", 1) for line in info if ":" in line)["process_id"]) for info in lines
        ]

    def seconds(self) -> list[float]:
        """Returns the CPU time of each process so far."""
        return list(map(machine.cpu_seconds, self._pids))


def together(bench: Bench, names: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Runs the same load on several servers at the same time. Returns the figures of each."""
    with ThreadPoolExecutor(len(names)) as pool:
        jobs = [_SHARED | {"seed": seed + n} for n in range(len(names))]
        return list(pool.map(bench.load, names, jobs))


def shared(bench: Bench, names: Sequence[str]) -> tuple[float, float, int]:
    """Returns the CPU µs a token of a server alone and of all together, and the number of wrong streams."""
    alone: list[float] = []
    all_of_them: list[float] = []
    wrong = 0
    for number in range(ROUNDS):
        for group, found in (
            ((names[:1], alone), (names, all_of_them))
            if number % 2
            else (
                (names, all_of_them),
                (names[:1], alone),
            )
        ):
            results = together(bench, group, 10 * number)
            wrong += sum(result["check"]["wrong"] for result in results)
            found += [window["cpu_us_per_token"] for result in results for window in result["windows"]]
    return median(alone), median(all_of_them), wrong


def alternating(bench: Bench, costs: StoreCosts, name: str) -> dict[str, dict[str, Any]]:
    """Returns the figures of a scenario without and with the store, whose CPU µs a token are among them."""
    began = costs.seconds()
    found = figures(bench, dict.fromkeys((MEMORY, STORE), SCENARIOS[name][""]))
    tokens = max(found[STORE]["check"]["tokens"], 1)
    found[STORE]["store_us"] = [
        (end - begin) / tokens * 1e6 for begin, end in zip(began, costs.seconds(), strict=True)
    ]
    return found


def rows(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    """Returns the table's rows: what, the figures of both, the ratio or difference, and the verdict."""
    made = []
    for name, by_server in found.items():
        if name == "first_token":
            memory, store = (by_server[server]["added_ms"] for server in (MEMORY, STORE))
            measured, unit, what = store - memory, "ms more", "first token, added ms"
        else:
            memory, store = (by_server[server]["cpu_us_per_token"] for server in (MEMORY, STORE))
            measured, unit, what = store / memory, "times", f"{name}, CPU µs a token"
        verdict = "reached" if measured <= TARGETS[name] else "MISSED"
        # Single requests leave the store idle, so that its heartbeats would count.
        used = "" if name == "first_token" else " + ".join(f"{us:.1f}" for us in by_server[STORE]["store_us"])
        made.append(
            (
                what,
                f"{memory:.2f}",
                f"{store:.2f}",
                f"{measured:.2f} {unit}",
                f"≤ {TARGETS[name]}: {verdict}",
                used,
            )
        )
    return made


def main() -> int:
    """Runs the loads, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=_NAMES, help="run only this scenario")
    parser.add_argument("--group-delay", type=float, help="group_delay of the store, in seconds")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(_NAMES)
    console = Console(width=None if sys.stdout.isatty() else 120)
    before = machine.facts()["loadavg"][0]
    wrong = 0
    with Machines() as machines, TemporaryDirectory() as folder:
        primary = machines.single({"repl-diskless-sync-delay": "0"})
        costs = StoreCosts([primary, machines.replica_of(primary)])
        config = Path(folder, "store.toml")
        delay = "" if arguments.group_delay is None else f"group_delay = {arguments.group_delay}\n"
        config.write_text(f'store = "{primary.url}"\n[plugins.redis]\n{delay}')
        stored = ["--config", str(config)]
        options = {MEMORY: [], STORE: stored} | {f"replica {n}": stored for n in range(1, REPLICAS)}
        if "replicas" not in names:
            options = {MEMORY: [], STORE: stored}
        with servers(options) as (engine, relays), console.status("starting") as status:
            bench = Bench(engine, relays, status.update)
            found = {name: alternating(bench, costs, name) for name in names if name in TARGETS}
            table = Table(title="The event store")
            for heading in ("", MEMORY, STORE, "", "target", "primary + replica, CPU µs a token"):
                table.add_column(heading, justify="right" if heading else "left")
            for row in rows(found):
                table.add_row(*row)
            console.print(table)
            if "replicas" in names:
                alone, shared_cost, wrong = shared(bench, [STORE, *list(options)[2:]])
                share = alone / shared_cost
                verdict = "reached" if share >= SHARE else "MISSED"
                console.print(
                    f"{REPLICAS} servers on one store: {shared_cost:.1f} CPU µs a token, one alone"
                    f" {alone:.1f}: {share:.2f} x {REPLICAS} of one's tokens per CPU second"
                    f" (≥ {SHARE}: {verdict})"
                )
    console.print(
        f"{ROUNDS} rounds; load average {before} before, {machine.facts()['loadavg'][0]} after", style="dim"
    )
    return 1 if wrong or report.checks(found)["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
