"""Measures the time from a caller's cancel until the engine's connection is closed, and checks for leaks.

Three processes: a scripted engine that records when its sockets close, the server, and this one, the caller.
Half of the generations are cancelled in prefill, before a first token, half between two tokens. Exits with 1
if a cancel did not reach the engine or something was left over; with --check, also if a target was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import grpc
import uvloop
from rich.console import Console
from rich.table import Table
from tokenstreaming.v1 import input_pb2, token_stream_pb2

from bench.machine import resident_bytes, run_delay_seconds
from bench.run import Server

if TYPE_CHECKING:
    from collections.abc import Callable

_HELD = re.compile(r"^held (.*)\n", re.MULTILINE)
_RETURNED = re.compile(r"^free memory returned\n", re.MULTILINE)
_ANSWER_LIMIT_S = 30.0
_METHOD = "/tokenstreaming.v1.TokenStream/StreamTokens"
_CONNECTIONS = 4
_WORDS = ("prefill", "tokens")

# The life of a generation until its cancel, evenly distributed, in seconds.
_LIFE = (1.0, 5.0)

# The server has as many permits as the benchmark has slots; a permit is returned shortly after a cancel.
_PAUSE_SECONDS = 0.2

# What must not stay behind. Ended generations are kept for a while, and gRPC keeps threads and sockets.
_LEFT = ("tasks", "permits", "readers", "sockets to the engine")
_PROCESSES = ("engine", "server", "caller")
_SETTLED_SECONDS = 1.0
_WARM_UP = 20
_TARGETS_MS = {"p50": 5.0, "p99": 50.0}


@dataclass
class Caller:
    """Starts generations and cancels them. `cancelled` has the time of each cancel, in nanoseconds."""

    target: str
    seed: int
    life: tuple[float, float] = _LIFE
    cancelled: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    async def run(self, numbers: range, at_once: int) -> None:
        """Runs all generations, so many at once."""
        chance = random.Random(self.seed)
        places = asyncio.Semaphore(at_once)
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(self.target, options=options) for _ in range(_CONNECTIONS)]
        try:
            async with asyncio.TaskGroup() as group:
                for index, number in enumerate(numbers):
                    await places.acquire()
                    if index < at_once:  # not all at the same moment
                        await asyncio.sleep(self.life[1] / at_once)
                    task = group.create_task(
                        self._one(channels[number % _CONNECTIONS], number, chance.uniform(*self.life))
                    )
                    task.add_done_callback(lambda _: places.release())
        finally:
            for channel in channels:
                await channel.close()

    async def open_at_once(self, count: int) -> int:
        """Starts so many generations at once and returns the number that got a token. Then cancels them."""
        async with grpc.aio.insecure_channel(self.target) as channel:
            calls = [_call(channel, f"extra-{number}", "tokens") for number in range(count)]
            tokens = await asyncio.gather(*(_first_token(call) for call in calls), return_exceptions=True)
            for call in calls:
                call.cancel()
        return sum(outcome is None for outcome in tokens)

    async def _one(self, channel: grpc.aio.Channel, number: int, life: float) -> None:
        word = _WORDS[number % 2]
        call = _call(channel, str(number), word)
        ends = asyncio.get_running_loop().time() + life
        try:
            if word == "tokens":
                await _first_token(call)
            await asyncio.sleep(ends - asyncio.get_running_loop().time())
        except (grpc.aio.AioRpcError, ValueError) as error:
            self.failed.append(f"{number} {word}: {error!s:.200}")
            return
        if call.done():
            self.failed.append(f"{number} {word}: it had ended by itself with {await call.code()}")
            return
        self.cancelled[str(number)] = time.monotonic_ns()
        call.cancel()
        await asyncio.sleep(_PAUSE_SECONDS)


def _call(channel: grpc.aio.Channel, number: str, word: str) -> grpc.aio.UnaryStreamCall[Any, Any]:
    message = input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text=f"{number} {word}")
    request = token_stream_pb2.StreamTokensRequest(conversation=input_pb2.Conversation(messages=[message]))
    return channel.unary_stream(_METHOD)(request.SerializeToString())


async def _first_token(call: grpc.aio.UnaryStreamCall[Any, Any]) -> None:
    while (data := await call.read()) is not grpc.aio.EOF:
        if token_stream_pb2.StreamTokensResponse.FromString(data).tokens:
            return
    raise ValueError("it ended without a token")


def held(server: Server) -> dict[str, int]:
    """Returns what the server holds now, by its own report."""
    told: dict[str, int] = json.loads(_answer(server, signal.SIGUSR1, _HELD))
    return told


def used_bytes(server: Server) -> int:
    """Returns how much memory of the server is resident once it has returned what it does not use."""
    _answer(server, signal.SIGUSR2, _RETURNED)
    return resident_bytes(server.pid)


def _answer(server: Server, question: signal.Signals, pattern: re.Pattern[str]) -> str:
    """Sends a signal and returns the next line that matches."""
    before = len(pattern.findall(server.output()))
    os.kill(server.pid, question)
    until = time.monotonic() + _ANSWER_LIMIT_S
    while len(lines := pattern.findall(server.output())) == before:
        if time.monotonic() > until:
            raise SystemExit(f"bench: the server does not answer to {question.name}")
        time.sleep(0.01)
    return str(lines[-1])


def engine_log(engine: Server) -> dict[str, Any]:
    """Returns the engine's history of connections."""
    with urllib.request.urlopen(f"http://{engine.address}/log", timeout=10) as answer:
        log: dict[str, Any] = json.load(answer)
    return log


def measure(count: int, at_once: int, seed: int, life: tuple[float, float] = _LIFE) -> dict[str, Any]:
    """Returns the latencies in milliseconds by kind, and what was left over. `life` is in seconds."""
    engine = Server("the engine", ["-m", "bench.cancel_engine"])
    try:
        command = ["-m", "bench.watched_server", "--base-url", f"http://{engine.address}/v1"]
        server = Server("the server", [*command, "--permits", str(at_once)])
        try:
            return _measured(engine, server, count, at_once, partial(Caller, server.address, seed, life))
        finally:
            server.stop()
    finally:
        engine.stop()


def _measured(
    engine: Server, server: Server, count: int, at_once: int, new_caller: Callable[[], Caller]
) -> dict[str, Any]:
    # Objects that the first calls create once are not left over.
    uvloop.run(new_caller().run(range(count, count + _WARM_UP), at_once))
    time.sleep(_SETTLED_SECONDS)
    before, load = held(server), os.getloadavg()
    waited = [run_delay_seconds(pid) for pid in (engine.pid, server.pid, os.getpid())]
    began = time.monotonic()
    caller = new_caller()
    uvloop.run(caller.run(range(count), at_once))
    seconds = time.monotonic() - began
    delays = [run_delay_seconds(pid) for pid in (engine.pid, server.pid, os.getpid())]
    time.sleep(_SETTLED_SECONDS)
    after, log = held(server), engine_log(engine)
    after = {name: after[name] for name in _LEFT}
    again = uvloop.run(new_caller().open_at_once(at_once))
    closed, received = log["closed"], log["received"]
    times = {
        word: [
            (closed[number] - at) / 1e6
            for number, at in caller.cancelled.items()
            if number in closed and received[number] < at and _WORDS[int(number) % 2] == word
        ]
        for word in _WORDS
    }
    return {
        "times_ms": times,
        "cancelled": len(caller.cancelled),
        "failed": caller.failed,
        # The caller was faster than the request on its way to the engine.
        "before_the_engine": sum(received.get(number, at) >= at for number, at in caller.cancelled.items()),
        "not_closed": sum(number in received and number not in closed for number in caller.cancelled),
        "left": {name: after[name] - before[name] for name in after}
        | {"connections at the engine": log["open"]},
        "opened_again": again,
        "at_once": at_once,
        "seconds": seconds,
        "waited": [round((now - then) / seconds, 3) for then, now in zip(waited, delays, strict=True)],
        "loadavg": [round(load[0], 2), round(os.getloadavg()[0], 2)],
        "cores": os.cpu_count(),
    }


def figures(times: list[float]) -> dict[str, float]:
    """Returns the percentiles and the maximum."""
    cuts = quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(times)}


def broken(result: dict[str, Any]) -> list[str]:
    """Returns what is wrong with a run, regardless of its speed."""
    found = [f"{result['not_closed']} connections were not closed"] if result["not_closed"] else []
    found += [f"left over: {count} {name}" for name, count in result["left"].items() if count]
    if result["failed"]:
        found.append(f"{len(result['failed'])} failed, such as {result['failed'][0]}")
    if result["opened_again"] != result["at_once"]:
        found.append(f"only {result['opened_again']} of {result['at_once']} permits could be had again")
    return found


def show(result: dict[str, Any], console: Console) -> list[str]:
    """Prints the table and returns the targets that were missed."""
    table = Table(title=f"{result['cancelled']} cancels, up to {result['at_once']} generations at once")
    for name in ("from cancel to closed socket, ms", "cancels", "p50", "p90", "p99", "max"):
        table.add_column(name, justify="left" if name.startswith("from") else "right")
    times = result["times_ms"]
    everything = [time for kind in times.values() for time in kind]
    for name, kind in (
        ("in prefill", times["prefill"]),
        ("between tokens", times["tokens"]),
        ("all", everything),
    ):
        table.add_row(name, str(len(kind)), *(f"{value:.2f}" for value in figures(kind).values()))
    console.print(table)
    left = ", ".join(f"{count} {name}" for name, count in result["left"].items())
    console.print(f"left over {_SETTLED_SECONDS:g} s later: {left}", soft_wrap=True)
    console.print(f"permits had again at once: {result['opened_again']} of {result['at_once']}")
    if result["before_the_engine"]:
        console.print(f"cancelled before the request had reached the engine: {result['before_the_engine']}")
    shares = ", ".join(
        f"{name} {share:.1%}" for name, share in zip(_PROCESSES, result["waited"], strict=True)
    )
    console.print(f"of the time these waited for a core: {shares}")
    before, after = result["loadavg"]
    console.print(
        f"{result['seconds']:.0f} s on {result['cores']} cores; loadavg {before} before, {after} after"
    )
    found = figures(everything)
    return [
        f"{name} {found[name]:.1f} ms, the target is {most:g}"
        for name, most in _TARGETS_MS.items()
        if found[name] > most
    ]


def main() -> None:
    """Runs the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cancels", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit with 1 if p50 or p99 misses its target")
    arguments = parser.parse_args()
    result = measure(arguments.cancels, arguments.at_once, arguments.seed)
    missed = show(result, Console())
    wrong = broken(result)
    for line in [*wrong, *missed]:
        print(f"bench: {line}")
    sys.exit(bool(wrong or (missed and arguments.check)))


if __name__ == "__main__":
    main()
