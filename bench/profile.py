"""Which hops cost what: system calls a message, and the shares of kernel, interpreter and gRPC's core.

Puts one of the benchmark's loads on tokengrpc, and on the Go relay for comparison, and watches each process
from outside with strace and perf, which Debian has (`apt install strace linux-perf`). What is not installed
is left out. Takes about a minute.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.peers import GO, OURS
from bench.run import SCENARIOS, Bench, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WATCH_S = 5.0
_BEFORE_S = 1.5
_SHOWN_CALLS = 8
# The parts of a process, by the names of its files. Whatever is left is libraries that several use.
_PARTS = {
    "kernel": "kernel",
    "interpreter": "libpython|python3",
    "gRPC's core": "cygrpc",
    "event loop": "uvloop|loop.cpython",
    "decoding": "_core.cpython|_tiktoken|llhttp|httptools",
    "Go": "go_relay",
}


def system_calls(pid: int) -> Counter[str]:
    """Returns how often each system call is made within WATCH_S seconds, as strace counts."""
    command = ["timeout", "-s", "INT", str(WATCH_S), "strace", "-c", "-f", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", done.stderr, re.MULTILINE)
    return Counter({name: int(count) for count, name in rows if name != "total"})


def shares(pid: int) -> Counter[str]:
    """Returns the percentage of CPU time of each part of a process, as perf samples it."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "perf.data"))
        record = [
            "perf",
            "record",
            "-q",
            "-F",
            "997",
            "-o",
            data,
            "-p",
            str(pid),
            "--",
            "sleep",
            str(WATCH_S),
        ]
        subprocess.run(record, capture_output=True, check=False)
        report = ["perf", "report", "-q", "-i", data, "-s", "dso", "--stdio", "-g", "none"]
        done = subprocess.run(report, capture_output=True, text=True, check=False)
    found: Counter[str] = Counter()
    for percent, file in re.findall(r"^ *([\d.]+)% +(\S+)", done.stdout, re.MULTILINE):
        part = next((name for name, pattern in _PARTS.items() if re.search(pattern, file)), "libraries")
        found[part] += float(percent)
    return found


def watched(bench: Bench, relay: str, pid: int, job: Mapping[str, Any], watch: Callable[[int], Any]) -> Any:
    """Watches a relay in the middle of a load. Returns what was seen, and the figures of that load."""
    figures: list[dict[str, Any]] = []
    load = threading.Thread(target=lambda: figures.append(bench.load(relay, dict(job))))
    load.start()
    time.sleep(job.get("ramp_s", 0.0) + _BEFORE_S)
    seen = watch(pid)
    load.join()
    if not figures:
        raise SystemExit("bench: the load failed")
    return seen, figures[0]["windows"][0]


def main() -> int:
    """Watches both relays, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=("bursts", "paced", "flood"), default="paced")
    load = parser.parse_args().only
    console = Console(width=None if sys.stdout.isatty() else 120)
    job = SCENARIOS[load][""] | {"windows": 1, "window_s": WATCH_S + 2 * _BEFORE_S}
    before = machine.facts()["loadavg"][0]
    tools = {"strace": system_calls, "perf": shares}
    with servers([load]) as (engine, relays, missing):
        bench = Bench(engine, relays, lambda _: None)
        for tool, watch in tools.items():
            if shutil.which(tool) is None:
                console.print(f"{tool} is not installed: left out")
                continue
            seen = {
                name: watched(bench, name, relays[name].pid, job, watch)
                for name in (OURS, GO)
                if name in relays
            }
            console.print(_table(tool, load, seen))
    for peer, why in missing.items():
        console.print(f"{peer} was not watched: {why}")
    console.print(f"load average {before} before", style="dim")
    return 0


def _table(tool: str, load: str, seen: Mapping[str, tuple[Counter[str], dict[str, Any]]]) -> Table:
    counts = tool == "strace"
    table = Table(title=f"{load}: {'system calls a message' if counts else '% of the CPU time'} ({tool})")
    table.add_column("")
    for name in seen:
        table.add_column(name, justify="right")
    total: Counter[str] = sum((found for found, _ in seen.values()), Counter())
    names = [name for name, _ in total.most_common(_SHOWN_CALLS)]
    scales = [
        figures["tokens_per_s"] / figures["tokens_per_message"] * WATCH_S if counts else 1.0
        for _, figures in seen.values()
    ]
    digits = 2 if counts else 0
    for name in names:
        values = (
            f"{found[name] / scale:.{digits}f}"
            for (found, _), scale in zip(seen.values(), scales, strict=True)
        )
        table.add_row(name, *values)
    if counts:
        sums = (
            f"{sum(found.values()) / scale:.2f}"
            for (found, _), scale in zip(seen.values(), scales, strict=True)
        )
        table.add_row("all", *sums)
    return table


if __name__ == "__main__":
    sys.exit(main())
