"""The shares of a paced token's cost: all of it, the part before a transport, and the least that is possible.

The same load runs, by turns, through tokengrpc to a client that reads; through tokengrpc for generations that
nobody reads, because their callers left after the first token; and through `floor.py`. Prints the CPU µs a
token of each, with the share of the time in which the process waited for a core. Takes about two
minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import subprocess
import sys
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import grpc
import uvloop
from rich.console import Console
from rich.table import Table
from tokenstreaming.v1 import input_pb2, token_stream_pb2

from bench import machine
from bench.machine import cpu_seconds, run_delay_seconds
from bench.pair import servers
from bench.run import CONNECTIONS, ROOT, SCENARIOS, Bench, environment
from bench.script import MODEL, Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.run import Server

_METHOD = "/tokenstreaming.v1.TokenStream/StreamTokens"
_JOB = SCENARIOS["paced"][""]
_STREAMS, _RATE = _JOB["streams"], _JOB["rate"]
_RAMP_S, _SETTLE_S, _WINDOW_S = 1.0, 1.0, 3.0
_END_S = _RAMP_S + _SETTLE_S + _WINDOW_S + 1.0
READ, UNREAD = "tokengrpc, read", "tokengrpc, unread"
FLOORS = {
    f"{loop}, {what}": (loop, hops)
    for loop in ("uvloop", "asyncio")
    for what, hops in (("read and write", 0), ("with two tasks", 2))
}

Cost = tuple[float, float]
"""CPU µs a token, and the share of the time in which the process waited for a core."""


async def window(pid: int) -> Cost:
    """Returns the cost of the load that runs."""
    await asyncio.sleep(_SETTLE_S)
    cpu, delay = cpu_seconds(pid), run_delay_seconds(pid)
    await asyncio.sleep(_WINDOW_S)
    spent, waited = cpu_seconds(pid) - cpu, run_delay_seconds(pid) - delay
    return spent / (_STREAMS * _RATE * _WINDOW_S) * 1e6, waited / _WINDOW_S


async def unread(server: Server) -> Cost:
    """Returns the cost of generations whose callers have left."""
    recovery = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)

    async def begin(methods: list[grpc.aio.UnaryStreamMultiCallable[bytes, bytes]], number: int) -> None:
        start = _RAMP_S * (number + random.random()) / _STREAMS
        await asyncio.sleep(start)
        script = Script(tokens=round((_END_S - start) * _RATE), rate=_RATE, stamp_every=25)
        message = input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text=script.prompt())
        conversation = input_pb2.Conversation(messages=[message])
        request = token_stream_pb2.StreamTokensRequest(
            model=MODEL, conversation=conversation, recovery=recovery
        )
        call = methods[number % CONNECTIONS](request.SerializeToString())
        async for data in call:
            if token_stream_pb2.StreamTokensResponse.FromString(data).tokens:
                break
        call.cancel()

    async with contextlib.AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(server.address, options=options))
            for _ in range(CONNECTIONS)
        ]
        methods: list[grpc.aio.UnaryStreamMultiCallable[bytes, bytes]] = [
            channel.unary_stream(_METHOD) for channel in channels
        ]
        await asyncio.gather(*(begin(methods, number) for number in range(_STREAMS)))
        cost = await window(server.pid)
        await asyncio.sleep(2.0)  # the generations end
    return cost


async def floor(engine: Server, loop: str, hops: int) -> Cost:
    """Returns the cost of a relay without any features."""
    sink = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = sink.sockets[0].getsockname()
    command = [
        sys.executable,
        "-m",
        "bench.floor",
        loop,
        str(hops),
        engine.address,
        f"{address[0]}:{address[1]}",
    ]
    # Not by uvloop, whose fork runs gRPC's handlers for forks.
    start = partial(subprocess.Popen, [*command, str(_STREAMS), str(_RATE)], cwd=ROOT, env=environment())
    process = await asyncio.to_thread(start)
    try:
        await asyncio.sleep(_RAMP_S)
        return await window(process.pid)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        sink.close()


def round_of(bench: Bench, engine: Server, server: Server, seed: int) -> Iterator[tuple[str, Cost]]:
    """Yields the costs of one round."""
    for found in bench.load("tokengrpc", _JOB | {"seed": seed})["windows"]:
        yield READ, (found["cpu_us_per_token"], found["relay_waited"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield UNREAD, runner.run(unread(server))
        for name, (loop, hops) in FLOORS.items():
            yield name, runner.run(floor(engine, loop, hops))


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    before = machine.facts()["loadavg"][0]
    costs: dict[str, list[Cost]] = {}
    with servers({"tokengrpc": ()}) as (engine, relays):
        bench = Bench(engine, relays, lambda _: None)
        for seed in range(1, rounds + 1):
            for name, cost in round_of(bench, engine, relays["tokengrpc"], seed):
                costs.setdefault(name, []).append(cost)
    table = Table(title=f"CPU µs a token, {_STREAMS} streams of {_RATE:g} tokens a second")
    for heading in ("", "median", "from", "to", "waited for a core"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in costs.items():
        spent = [cost for cost, _ in found]
        waited = median(share for _, share in found)
        table.add_row(
            name, *(f"{value:.0f}" for value in (median(spent), min(spent), max(spent))), f"{waited:.0%}"
        )
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print(f"load average {before} before, {machine.facts()['loadavg'][0]} after", style="dim")


if __name__ == "__main__":
    main()
