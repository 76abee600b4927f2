"""Kills, pauses and cuts off servers that share an event store while streams run, and prints a table.

    python -m tests.support.replica_chaos.run    # make chaos-replicas, about an hour

Exits with 1 if a reader saw anything but the output of its engine, once; if a fenced server wrote to a log;
or if the ledger has not exactly one record of each generation.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.support.postgres import postgres
from tests.support.replica_chaos.audit import audit
from tests.support.replica_chaos.faults import FAULTS, kills, pauses, random_faults
from tests.support.replica_chaos.fleet import LEASE, Fleet
from tests.support.replica_chaos.load import Load, Tally
from tests.support.replica_chaos.stages import stages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    Chaos = Callable[[Fleet, Load, Tally, random.Random], Awaitable[None]]

STREAMS, TOKENS = 20, 200


async def run(
    chaos: Chaos, ledger: str, *, streams: int = STREAMS, tokens: int = TOKENS, seed: int = 1, **of_fleet: Any
) -> Tally:
    """Runs streams on servers while `chaos` happens to them. `ledger` is the URL of a database."""
    tally, chance = Tally(), random.Random(seed)
    async with Fleet(ledger, **of_fleet) as fleet:
        load = Load(fleet, tally, chance, tokens=tokens)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(streams))
            try:
                await chaos(fleet, load, tally, chance)
            finally:
                load.stop()
        await audit(ledger, tally)
        tally.stages = stages(tally.pauses, fleet.kills, [server.log() for server in fleet.servers])
        codes = await fleet.end()
        tally.expect(f"SIGTERM ended the servers with {codes}", holds=not any(codes))
        if tally.wrong:
            sys.stderr.write(fleet.logs(_named("\n".join(tally.wrong))))
    return tally


def _named(what: str) -> set[str]:
    """Returns the ids of generations in a text."""
    return set(re.findall(r"\bg\d+\b", what))


def on_asyncio(chaos: Coroutine[Any, Any, Tally]) -> Tally:
    """Runs chaos on asyncio's own loop. uvloop forks, and a child may crash beside gRPC's threads."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(chaos)


def show(name: str, tally: Tally, seconds: float) -> None:
    """Prints the table of one run."""
    print(f"{name}: {seconds:.0f} s, loadavg {os.getloadavg()[0]:.1f}")
    for what, count in sorted(tally.counts.items()):
        print(f"{count:8d} {what}")
    if tally.pauses:
        p99 = _percentiles("pauses at takeovers", [pause.seconds for pause in tally.pauses])
        if tally.counts["servers killed"]:
            print(f"  p99 at most {LEASE + 1:.0f} s: {'reached' if p99 <= LEASE + 1 else 'MISSED'}")
    for stage, found in tally.stages.items():
        _percentiles(stage, found)
    for what in tally.wrong[:20]:
        print(f"WRONG: {what[:1000]}")


def _percentiles(name: str, seconds: Iterable[float]) -> float:
    """Prints percentiles. Returns the 99th."""
    found = sorted(seconds)
    p50, p99 = (found[min(len(found) - 1, int(len(found) * share))] for share in (0.5, 0.99))
    print(f"  {name}: p50 {p50:.2f} s, p99 {p99:.2f} s, the longest {found[-1]:.2f} s")
    return p99


def main() -> int:
    """Runs all chaos, and prints the tables. Returns 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pauses", type=int, default=20)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--only", choices=list(FAULTS), help="this kind of fault alone")
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--seed", type=int, help="of the choices; printed, to repeat a run")
    arguments = parser.parse_args()
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"--seed {seed}, {arguments.streams} streams, lease {LEASE} s")
    faults = [arguments.only] if arguments.only else list(FAULTS)
    runs: dict[str, tuple[int, Chaos]] = {
        f"{arguments.kills} kills": (arguments.kills, partial(kills, count=arguments.kills)),
        f"{arguments.pauses} pauses": (arguments.pauses, partial(pauses, count=arguments.pauses)),
        f"{arguments.faults} faults": (
            arguments.faults,
            partial(random_faults, count=arguments.faults, names=faults),
        ),
    }
    wrong = 0
    with postgres() as server:
        for name, (count, chaos) in runs.items():
            if not count:
                continue
            with server.database("chaos") as url:
                began = time.monotonic()
                tally = on_asyncio(run(chaos, url, streams=arguments.streams, seed=seed))
            show(name, tally, time.monotonic() - began)
            wrong += len(tally.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
