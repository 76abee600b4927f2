"""Measures what an append to an event store costs: CPU of this process and of the store, and time.

Starts its own server, Redis or Valkey (`--program`), of one grade (`--durability`). Each round has some
generations that append one record of 300 bytes at a time, as fast as they may.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from statistics import median
from typing import TYPE_CHECKING

import uvloop
from rich.console import Console
from rich.table import Table

from tests.support.redis_servers import FSYNCED, Machines, RedisServer
from tests.support.redis_sinks import started
from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.log import AppendStatus, Record

if TYPE_CHECKING:
    from tokengrpc.stores.redis.sink import RedisEventSink

_BODY, _TAIL = bytes(250), bytes(50)


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", choices=["redis", "valkey"], default="redis")
    parser.add_argument("--durability", choices=["replicated", "fsynced"], default="replicated")
    parser.add_argument("--group-delay", type=float, default=0.0)
    parser.add_argument("--appends", type=int, default=6_000, help="per round")
    arguments = parser.parse_args()
    table = Table("generations", "own CPU µs", "store's CPU µs", "median ms", "appends/s")
    with Machines(arguments.program) as machines:
        fsynced = arguments.durability == "fsynced"
        server = machines.single(FSYNCED if fsynced else {"repl-diskless-sync-delay": "0"})
        if not fsynced:
            machines.replica_of(server)
        for row in uvloop.run(_rounds(server, arguments)):
            table.add_row(*row)
    Console().print(table)


async def _rounds(server: RedisServer, arguments: argparse.Namespace) -> list[list[str]]:
    delay, grade = arguments.group_delay, arguments.durability
    async with started(server.url, 30.0, durability=grade, group_delay=delay) as sink:
        return [await _round(sink, server, count, arguments.appends // count) for count in (1, 8, 32, 128)]


async def _round(sink: RedisEventSink, server: RedisServer, generations: int, appends: int) -> list[str]:
    keys = [GenerationKey("bench", f"{generations}-{n}") for n in range(generations)]
    epochs = [(await sink.claim(key, b"f", b"r", "log")).epoch for key in keys]
    own, theirs, begin = _own_cpu(), _cpu_of(server), time.perf_counter()
    measured = await asyncio.gather(
        *(_append(sink, key, epoch, appends) for key, epoch in zip(keys, epochs, strict=True))
    )
    seconds, total = time.perf_counter() - begin, generations * appends
    own_us, their_us = (_own_cpu() - own) / total * 1e6, (_cpu_of(server) - theirs) / total * 1e6
    latency = median(value for values in measured for value in values) * 1e3
    return [str(generations), f"{own_us:.0f}", f"{their_us:.0f}", f"{latency:.2f}", f"{total / seconds:.0f}"]


async def _append(sink: RedisEventSink, key: GenerationKey, epoch: int, appends: int) -> list[float]:
    latencies = []
    for n in range(1, appends + 1):
        begin = time.perf_counter()
        outcome = await sink.append(key, epoch, [Record(n, RecordKind.TOKENS, _BODY, _TAIL)])
        latencies.append(time.perf_counter() - begin)
        if outcome.status is not AppendStatus.OK:
            raise SystemExit(f"an append had the outcome {outcome}")
    return latencies


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_of(server: RedisServer) -> float:
    lines = server.call("INFO", "cpu").decode().splitlines()
    figures = dict(line.split(":") for line in lines if ":" in line)
    return float(figures["used_cpu_user"]) + float(figures["used_cpu_sys"])


if __name__ == "__main__":
    main()
