"""Loads a server with short generations, and prints its longest pauses and its memory over time.

Answers come in bursts: the engine writes all tokens of one at once. Tokens one by one would need more cores
than two at this rate. Exits with 1 if an answer was wrong; with --check, also if a target was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import grpc
import uvloop

from bench.answer import Tally
from bench.reader import Caller
from bench.run import Server
from bench.script import Script

_CONNECTIONS = 4
_MOST_OPEN = 400
_CHECKED = 50
"""Of so many streams, one is checked token by token; of the others, the status."""
_PAUSE_MS = 20.0
_GROWTH = 0.03


@dataclass
class Load:
    """Generations that are started at a fixed rate, whether or not earlier ones have ended."""

    target: str
    rate: float
    tokens: int
    tally: Tally = field(default_factory=Tally)
    started: int = 0
    ended: int = 0
    skipped: int = 0

    async def run(self, seconds: float) -> None:
        """Starts generations for so long, then waits for the last ones."""
        caller = Caller(self.target, _CONNECTIONS)
        await caller.connect()
        began, running = time.monotonic(), set[asyncio.Task[None]]()
        for number in itertools.count():
            due = began + number / self.rate
            if due - began >= seconds:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(running) >= _MOST_OPEN:
                self.skipped += 1
                continue
            self.started += 1
            task = asyncio.create_task(self._one(caller, number))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        await caller.close()

    async def _one(self, caller: Caller, number: int) -> None:
        script = Script(tokens=self.tokens, seed=number, stamp_every=self.tokens)
        if number % _CHECKED == 0:
            await caller.read(script, self.tally)
        else:
            call = caller.open(script)
            try:
                async for _ in call:
                    pass
            except grpc.aio.AioRpcError as error:
                self.tally.complain(f"{error.code().name}: {error.details()}")
        self.ended += 1


def samples(server: Server) -> list[dict[str, Any]]:
    """Returns what the server's probe has printed so far."""
    lines = server.output().splitlines()
    return [json.loads(line.removeprefix("sample ")) for line in lines if line.startswith("sample {")]


def verdicts(found: list[dict[str, Any]], load: Load, seconds: float, ttl: float) -> dict[str, Any]:
    """Returns the figures of a run, and whether the targets are met. None: the run was too short to say."""
    # The first second has the first calls of everything.
    steady = [sample for sample in found if 2.0 < sample["seconds"] < seconds]
    late = [sample["rss_mib"] for sample in steady if sample["seconds"] >= 2 * ttl]
    tenth = max(1, len(late) // 10)
    flat = None
    growth = None
    if seconds >= 3 * ttl and len(late) >= 10:
        growth = median(late[-tenth:]) / median(late[:tenth]) - 1
        flat = growth <= _GROWTH
    pause = max(sample["pause_ms"] for sample in steady)
    kinds = zip(*(sample["collections"] for sample in steady), strict=True)
    names = ("young", "middle", "full")
    return {
        "generations_per_s": round(load.ended / seconds, 1),
        "not_started": load.skipped,
        "wrong": len(load.tally.complaints),
        "longest_pause_ms": pause,
        "pauses_over_20_ms": sum(sample["pause_ms"] > _PAUSE_MS for sample in steady),
        "longest_lag_ms": max(sample["lag_ms"] for sample in steady),
        "collections": {
            name: {"count": sum(row[0] for row in rows), "longest_ms": max(row[1] for row in rows)}
            for name, rows in zip(names, kinds, strict=True)
        },
        "server_cores": round((steady[-1]["cpu_seconds"] - steady[0]["cpu_seconds"]) / len(steady), 2),
        "waited_for_a_core": round(
            (steady[-1]["waited_seconds"] - steady[0]["waited_seconds"]) / len(steady), 2
        ),
        "memory_growth_after_twice_the_replay_time": None if growth is None else round(growth, 4),
        "no_long_pause": pause <= _PAUSE_MS,
        "flat_memory": flat,
    }


def show(found: list[dict[str, Any]], seconds: float) -> None:
    """Prints some twenty of the samples, each with the worst of the seconds since the one before."""
    step = max(1, round(seconds / 20))
    print(
        "     s   pause ms   lag ms   RSS MiB   blocks   kept   log MiB   full/middle/young collections, ms"
    )
    for i in range(0, len(found), step):
        rows = found[i : i + step]
        last = rows[-1]
        longest = [max(row["collections"][kind][1] for row in rows) for kind in (2, 1, 0)]
        print(
            f"{last['seconds']:6.0f} {max(row['pause_ms'] for row in rows):10.1f}"
            f" {max(row['lag_ms'] for row in rows):8.1f} {last['rss_mib']:9.1f} {last['blocks']:8}"
            f" {last['kept']:6} {last['log_mib']:9.1f}   {' '.join(f'{value:.1f}' for value in longest)}"
        )


def main() -> int:
    """Runs the load, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=200.0, help="generations started per second")
    parser.add_argument("--tokens", type=int, default=200, help="tokens of each generation")
    parser.add_argument("--replay-ttl", type=float, default=60.0, help="as limits.replay_ttl, in seconds")
    parser.add_argument("--data-dir", default="", help="keep the usage ledger in SQLite in this directory")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    arguments = parser.parse_args()
    engine = Server("the engine", ["-m", "bench.engine", "--listen", "127.0.0.1:0"])
    try:
        to_engine = ["--base-url", f"http://{engine.address}/v1", "--replay-ttl", str(arguments.replay_ttl)]
        to_engine += ["--data-dir", arguments.data_dir]
        server = Server("the server", ["-m", "bench.probed_server", *to_engine])
        try:
            load = Load(server.address, arguments.rate, arguments.tokens)
            uvloop.run(load.run(arguments.seconds))
            found = samples(server)
        finally:
            server.stop()
    finally:
        engine.stop()
    show(found, arguments.seconds)
    figures = verdicts(found, load, arguments.seconds, arguments.replay_ttl)
    print(
        json.dumps(figures | {"loadavg": os.getloadavg(), "complaints": load.tally.complaints[:5]}, indent=1)
    )
    missed = arguments.check and not (figures["no_long_pause"] and figures["flat_memory"] is not False)
    return 1 if figures["wrong"] or missed else 0


if __name__ == "__main__":
    sys.exit(main())
