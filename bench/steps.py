"""The steps of a token from the engine's bytes to its record, each in a loop of its own: CPU µs a token.

Without sockets and tasks, it tells what the code of a step costs at best, and whether a change makes it
cheaper, on a busy machine too. In a server, where steps alternate and tokens come one by one, they cost more.
Takes a few seconds.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.engine import Dialect
from bench.script import MODEL
from tokengrpc.core.clock import SystemClock
from tokengrpc.core.generation import Generation
from tokengrpc.core.request import GenerationRequest
from tokengrpc.engines.http.parser import ResponseParser
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.upstream.response.sse import SSEDecoder
from tokengrpc.generations.buffer import EventBuffers
from tokengrpc.tokenizers.tiktoken import load
from tokengrpc.wire.encoding import ProtobufEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_TOKENS, _ROUNDS = 3000, 15
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def steps() -> dict[str, Callable[[Any], Any]]:
    """Returns the steps of one generation in order. Each takes what the one before it returns for a token."""
    request, clock, parser = GenerationRequest(model=MODEL), SystemClock(), ResponseParser()
    parser.feed(_HEAD)
    generation = Generation(request, load("o200k_base", exact=False), clock.now_ns())
    buffer = EventBuffers(buffer_bytes=1 << 26, total_bytes=1 << 30).create()
    return {
        "HTTP chunk": parser.feed,
        "server-sent event": SSEDecoder().feed,
        "JSON to delta": ChunkDecoder("engine", request.output).feed,
        "delta to event": lambda deltas: generation.feed(deltas, clock.now_ns()),
        "event to record": ProtobufEncoder().recorder().records,
        "record to buffer": buffer.append,
    }


def run(chunks: Iterable[bytes], path: dict[str, Callable[[Any], Any]]) -> dict[str, float]:
    """Returns the CPU µs a token of each step."""
    costs, values = {}, list(chunks)
    for name, step in path.items():
        began = time.process_time_ns()
        values = [step(value) for value in values]
        costs[name] = (time.process_time_ns() - began) / len(values) / 1e3
    return costs


def main() -> int:
    """Measures, and prints a table."""
    words = Dialect(chat=True).words
    chunks = [words[number * 7 % len(words)] for number in range(_TOKENS)]
    path = steps()
    rounds = [run(chunks, path) for _ in range(_ROUNDS)]
    table = Table(title=f"CPU µs a token, the least of {_ROUNDS} rounds")
    table.add_column("")
    table.add_column("", justify="right")
    least = {name: min(costs[name] for costs in rounds) for name in path}
    for name, cost in (least | {"all": sum(least.values())}).items():
        table.add_row(name, f"{cost:.2f}")
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print(f"load average {machine.facts()['loadavg'][0]}", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
