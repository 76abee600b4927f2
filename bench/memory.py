"""Prints what kept events take in memory, in bytes per token, and what is kept of an ended generation.

Each token is an event of its own, as engines send them one by one. Takes a few seconds. Memory is counted by
tracemalloc, so it does not depend on the machine's load.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tracemalloc
from typing import TYPE_CHECKING

from tokengrpc.config import LimitSettings, Settings, model_settings
from tokengrpc.core.events import Event, RecordKind
from tokengrpc.core.model import Token, Usage, UsageSource
from tokengrpc.core.request import GenerationRequest
from tokengrpc.core.tenant import ANYBODY
from tokengrpc.generations.buffer import EventBuffers
from tokengrpc.server import Server
from tokengrpc.wire.encoding import ProtobufEncoder

if TYPE_CHECKING:
    from tokengrpc.generations.buffer import EventBuffer
    from tokengrpc.generations.registry import GenerationRegistry

_NOW_NS = 1_700_000_000_000_000_000
_TEXT = " word"


def filled(tokens: int) -> EventBuffer:
    """Returns a buffer with tokens of five characters, one event each."""
    buffer = EventBuffers(buffer_bytes=1 << 30, total_bytes=1 << 30).create()
    recorder = ProtobufEncoder().recorder()
    for i in range(tokens):
        usage = Usage(input=50, output=i + 1, source=UsageSource.ENGINE)
        token = Token(i, 1, _TEXT)
        event = Event(i + 1, RecordKind.TOKENS, usage, _NOW_NS + i * 20_000_000, (token,))
        buffer.append(recorder.records([event]))
    return buffer


def bytes_per_token(tokens: int, *, ended: bool) -> float:
    """Returns the memory of a generation's kept events by the number of its tokens."""
    filled(tokens)  # makes caches grow to their size
    tracemalloc.start()
    kept = []
    for _ in range(20):
        buffer = filled(tokens)
        if ended:
            buffer.seal()
        kept.append(buffer)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(kept) / tokens


async def kept_generation(count: int) -> dict[str, float]:
    """Returns the memory of an ended generation with one event, and its objects for the garbage collector."""
    model = model_settings(name="builtin")
    limits = LimitSettings(max_generations=count, replay_ttl=600.0)
    server = Server(Settings(listen="127.0.0.1:0", models=(model,), limits=limits), observers=())
    await server.start()
    try:
        await generate(server.registry, 200, 1)
        gc.collect()
        tracemalloc.start()
        objects = len(gc.get_objects())
        await generate(server.registry, count, 1)
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        tracked = len(gc.get_objects()) - objects
        tracemalloc.stop()
        return {"bytes": size / count, "objects": tracked / count}
    finally:
        await server.stop()


async def generate(registry: GenerationRegistry, count: int, tokens: int) -> None:
    """Runs generations of so many tokens, one after another."""
    for _ in range(count):
        request = GenerationRequest(prompt="hello", max_output_token_count=tokens)
        _, subscription = registry.open(request, ANYBODY, None)
        with subscription:
            while await subscription.next() is not None:
                pass


def main() -> None:
    """Prints the figures as text, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", type=int, default=200, help="tokens of each generation")
    parser.add_argument("--generations", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    buffer = filled(1)
    record_bytes = len(data.data) if (data := buffer.read(0, 1 << 20)) is not None else 0
    kept = asyncio.run(kept_generation(arguments.generations))
    figures = {
        "message_bytes": record_bytes,
        "running_bytes_per_token": round(bytes_per_token(arguments.tokens, ended=False), 1),
        "ended_bytes_per_token": round(bytes_per_token(arguments.tokens, ended=True), 1),
        "kept_generation_bytes": round(kept["bytes"]),
        "kept_generation_objects": round(kept["objects"], 1),
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):26} {value:10}")


if __name__ == "__main__":
    main()
