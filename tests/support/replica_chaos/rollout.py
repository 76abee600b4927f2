"""Restarts servers that share an event store, one after another as a rollout does, and prints a table.

    python -m tests.support.replica_chaos.rollout    # make rolling-deploy, some minutes

Exits with 1 if a reader saw anything but the whole output of its engine, once, and no error; or if the ledger
has not exactly one record of each generation.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from tests.support.postgres import postgres
from tests.support.replica_chaos.run import run, show

if TYPE_CHECKING:
    import random

    from tests.support.replica_chaos.fleet import Fleet
    from tests.support.replica_chaos.load import Load, Tally

SERVERS = 3
LIMITS = "withdrawal_time = 0.5\ndrain_time = 0.5"
"""Shorter than the generations, so that many are handed over."""


async def restarts(fleet: Fleet, load: Load, tally: Tally, chance: random.Random, *, count: int) -> None:
    """Restarts one server after another, each as soon as the last one serves again."""
    for turn in range(count):
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        code = await fleet.restart(turn % len(fleet.servers))
        tally.expect(f"SIGTERM ended a server with {code}", holds=code == 0)
        tally.counts["servers restarted"] += 1
        if tally.wrong:
            break


def main() -> int:
    """Runs rollouts, and prints the table. Returns 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=10)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument(
        "--pace", type=float, default=0.1, help="mean seconds of a chunk of one or two tokens"
    )
    arguments = parser.parse_args()
    rolling = partial(restarts, count=arguments.rollouts * SERVERS)
    began = time.monotonic()
    with postgres() as server, server.database("rollout") as url:
        tally = uvloop.run(
            run(
                rolling,
                url,
                streams=arguments.streams,
                tokens=arguments.tokens,
                count=SERVERS,
                pace=arguments.pace,
                limits=LIMITS,
            )
        )
    show(f"{arguments.rollouts} rollouts of {SERVERS} servers", tally, time.monotonic() - began)
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
