"""Measures how long requests of the largest size hold the server's event loop.

    python -m fuzz.dear_requests

Prints a table with a row per request: the status, and the longest pause of the loop: the time that passed,
the CPU time of all threads, and that of the loop's. A thread that holds Python's lock causes a pause too.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from rich.console import Console
from rich.table import Table
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import OPTIONS, collect, serving, upstream
from tests.support.raw_protobuf import DEAR, field
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text, UsageChunk
from tokengrpc.garbage import Collector
from tokengrpc.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.harness import Served

# Nothing listens there, so that a request that is accepted is encoded for the engine, and fails.
_NO_ENGINE = upstream("http://127.0.0.1:1/v1", allowed_engine_params=("b",), api="auto")
_LONG_ANSWER = 10_000  # tokens
_TICK = 0.0005
_SERVICE = "/tokenstreaming.v1.TokenStream/"


@dataclass
class Pauses:
    """The longest times between two ticks of a loop, in seconds.

    `longest` is the time that passed, `work` the CPU time of the loop's thread. `process` is the CPU time of
    all threads, but at most the time that passed: on a busy machine, the pause without its waits for a core.
    """

    longest: float = 0.0
    work: float = 0.0
    process: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What a request cost."""

    name: str
    code: str
    pauses: Pauses


@contextmanager
def watching(loop: asyncio.AbstractEventLoop) -> Iterator[Pauses]:
    """Measures the pauses of a running loop until the block ends."""
    found = Pauses()
    wall, work, process = loop.time(), time.thread_time(), time.process_time()
    timer: asyncio.TimerHandle

    def note() -> None:
        nonlocal wall, work, process
        now, used, used_by_all = loop.time(), time.thread_time(), time.process_time()
        found.longest = max(found.longest, now - wall - _TICK)
        found.work = max(found.work, used - work)
        found.process = max(found.process, min(used_by_all - process, now - wall))
        wall, work, process = now, used, used_by_all

    def tick() -> None:
        nonlocal timer
        note()
        timer = loop.call_later(_TICK, tick)

    timer = loop.call_later(_TICK, tick)
    try:
        yield found
    finally:
        timer.cancel()
        note()


def unit() -> float:
    """Returns the seconds of CPU time that a fixed piece of work takes on this machine: about 10 ms."""
    began = time.thread_time()
    total = 0
    for number in range(200_000):
        total ^= number * number
    return time.thread_time() - began


def call(target: str, method: str, data: bytes) -> str:
    """Sends a request with gRPC's blocking client. Returns the code of the status."""
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        try:
            for _ in channel.unary_stream(_SERVICE + method)(data, timeout=60):
                pass
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


async def measure(server: Served, name: str, method: str, data: bytes) -> Measured:
    """Sends one request from another thread while the loop is watched."""
    with watching(asyncio.get_running_loop()) as pauses:
        code = await asyncio.to_thread(call, server.target, method, data)
    return Measured(name, code, pauses)


@asynccontextmanager
async def _as_in_a_process() -> AsyncIterator[None]:
    """Collects garbage as a server process does."""
    collector = Collector(lambda: 0, lambda: 0)
    collector.start()
    try:
        yield
    finally:
        collector.stop()


async def measure_all() -> list[Measured]:
    """Sends every request to a server in this loop, first a short one for comparison."""
    async with serving(_NO_ENGINE) as server, _as_in_a_process():
        await measure(server, "", "StreamTokens", field(3, b"p"))
        found = [await measure(server, "a short prompt", "StreamTokens", field(3, b"p"))]
        for name, dear in DEAR.items():
            found.append(await measure(server, name, "StreamTokens", dear.body))
        for method in ("GetGeneration", "ListModels"):
            body = DEAR["unknown fields"].body
            found.append(await measure(server, f"unknown fields, {method}", method, body))
        return found


async def measure_long_answers(repeats: int = 1) -> list[Measured]:
    """Reads a long answer again, as a stream and in one response, each as often as `repeats` says."""
    async with (
        ScriptedEngine() as engine,
        serving(upstream(engine.base_url)) as server,
        _as_in_a_process(),
    ):
        engine.script(Text(*[" word"] * _LONG_ANSWER), Finish(), UsageChunk(), Done())
        await collect(server.stream("long", prompt="p"))
        request = pb.StreamTokensRequest(generation_id="long", prompt="p")
        bodies = {
            "StreamTokens": request,
            "GenerateText": pb.GenerateTextRequest(request=request),
            "ResumeTokens": pb.ResumeTokensRequest(generation_id="long"),
            "GetGeneration": pb.GetGenerationRequest(generation_id="long"),
        }
        return [
            await measure(server, f"a long answer by {method}", method, body.SerializeToString())
            for method, body in bodies.items()
            for _ in range(repeats)
        ]


def main() -> None:
    """Prints the table."""
    configure_logs("error", "json", sys.stderr)
    title = f"a unit of work: {unit() * 1e3:.1f} ms of CPU time"
    table = Table("request", "status", "pause, ms", "process, ms", "loop, ms", title=title)
    for row in asyncio.run(measure_all()) + asyncio.run(measure_long_answers()):
        pauses = (row.pauses.longest, row.pauses.process, row.pauses.work)
        table.add_row(row.name, row.code, *(f"{seconds * 1e3:.1f}" for seconds in pauses))
    Console().print(table)


if __name__ == "__main__":
    main()
