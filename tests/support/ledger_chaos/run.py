"""Runs the chaos, and prints a table.

    python -m tests.support.ledger_chaos.run --generations 20000 --kills 10    # make chaos-ledger

Exits with 1 if the ledger differs from what the callers and the engines know.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvloop

from tests.support.killed_server import KilledServer
from tests.support.ledger_chaos.audit import Audit, audited
from tests.support.ledger_chaos.callers import Caller, Told
from tests.support.ledgers import sqlite_ledger
from tests.support.postgres import postgres
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import RecordQuery
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tests.support.ledgers import ReadableLedger

ENGINES = 3
LEASE = 2

_SETTINGS = """
ledger = "{ledger}"
ledger_outage = "strict"
log_level = "error"
observers = []

[limits]
min_generations = 1_000_000
max_engine_attempts = 10
replay_ttl = 1.0
{plugins}
[[models]]
name = "m"
"""
_ENGINE = """
[[models.engines]]
name = "engine-{port}"
kind = "openai"
dialect = "vllm"
base_url = "http://127.0.0.1:{port}/v1"
"""


def _settings(ledger: str, engines: Sequence[int]) -> str:
    plugins = "" if ledger == "sqlite" else f"[plugins.postgresql]\nlease = {LEASE}\n"
    return _SETTINGS.format(ledger=ledger, plugins=plugins) + "".join(
        _ENGINE.format(port=port) for port in engines
    )


async def run(
    ledger: str, generations: int, kills: int, *, callers: int = 240, seed: int = 1
) -> tuple[Audit, Sequence[Told]]:
    """Runs generations on a server with a ledger, `sqlite` or a URL, and kills the server so many times."""
    chance, told = random.Random(seed), list[Told]()
    with TemporaryDirectory(prefix="tokengrpc-chaos-") as directory:
        async with _engines() as ports:
            server = KilledServer(Path(directory), _settings(ledger, ports))
            await server.spawn()
            await server.serve()
            async with asyncio.TaskGroup() as group:
                for number in range(callers):
                    caller = Caller(number, server.port, random.Random(seed + number), server.up)
                    group.create_task(caller.run(lambda: len(told) < generations, told.append))
                for kill in range(kills):
                    due = generations * (kill + chance.random()) / (kills + 1)
                    while len(told) < due:  # noqa: ASYNC110 - twenty thousand events would cost more
                        await asyncio.sleep(0.01)
                    await server.end(signal.SIGKILL)
                    await server.spawn()
                    if kill % 3 == 2:  # once more while it starts and recovers
                        await asyncio.sleep(chance.uniform(0.3, 2.0))
                        await server.end(signal.SIGKILL)
                        await server.spawn()
                    await server.serve()
            reader = _ledger(ledger, Path(directory))
            if ledger != "sqlite":
                await _no_open(reader)
            code = await server.end(signal.SIGTERM)
            log = json.loads(await asyncio.to_thread(_fetch, f"http://127.0.0.1:{ports[0]}/log"))
        await reader.start()
        audit, _ = await audited(reader, told, log)
        await reader.close()
        audit.expect(f"SIGTERM ended the server with {code}", holds=code == 0)
    return audit, told


def _ledger(ledger: str, directory: Path) -> SqlLedger:
    if ledger == "sqlite":
        return sqlite_ledger(directory)
    return SqlLedger(database.postgresql(ledger, 30.0), "audit", lease=LEASE)


async def _no_open(reader: ReadableLedger) -> None:
    """Waits until the server has closed the records of all that were killed."""
    async with asyncio.timeout(30 * LEASE):
        while any(  # noqa: ASYNC110 - another process changes it
            record.state is RecordState.OPEN
            for record in await reader.list_records(RecordQuery(), None, 10**6)
        ):
            await asyncio.sleep(LEASE / 4)


@asynccontextmanager
async def _engines() -> AsyncIterator[list[int]]:
    # Not by the event loop: uvloop's forks run gRPC's handlers of forks, which crash now and then.
    with subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
        [sys.executable, "-m", "tests.support.ledger_chaos.engine", str(ENGINES)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield [int(port) for port in (await asyncio.to_thread(process.stdout.readline)).split()]
        finally:
            process.kill()


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:
        data: bytes = response.read()
        return data


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Returns the ledgers to run on, by name."""
    with postgres() as server:
        yield {"SQLite": "sqlite", "PostgreSQL": server.url}


def main() -> int:
    """Runs the chaos on each database, and prints what happened. Returns 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--generations", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    wrong = 0
    with databases() as ledgers:
        for name, ledger in ledgers.items():
            began = time.monotonic()
            chaos = run(ledger, arguments.generations, arguments.kills, seed=arguments.seed)
            audit, told = uvloop.run(chaos)
            seconds = time.monotonic() - began
            print(
                f"{name}: {len(told)} generations, {arguments.kills} kills in {seconds:.0f} s, "
                f"loadavg {os.getloadavg()[0]:.1f}"
            )
            for what, count in sorted(audit.counts.items()):
                print(f"{count:8d} {what}")
            for what in audit.wrong[:20]:
                print(f"WRONG: {what[:1000]}")
            wrong += len(audit.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
