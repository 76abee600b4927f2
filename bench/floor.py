"""The least that a relay can cost: chunks are read from the engine's sockets, and frames written to others.

It parses nothing. The frame is written where the chunk was read, or after as many tasks have woken one
another as the second argument says: tokengrpc wakes two, the producer of events and their reader.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from functools import partial
from typing import cast

import uvloop

from bench.script import MODEL, Script

CONNECTIONS = 4
_FRAME = bytes(110)  # about as long as the message of one token
_IDLE_S = 60.0


class Reader(asyncio.Protocol):
    """Connection to the engine, for one answer."""

    def __init__(self, script: Script, out: asyncio.Transport, hops: int) -> None:
        self._script = script
        self._out = out
        self._loop = asyncio.get_running_loop()
        self._waiters = [self._loop.create_future() for _ in range(hops)]
        self._tasks = [self._loop.create_task(self._hop(place)) for place in range(hops)]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the answer."""
        message = {"role": "user", "content": self._script.prompt()}
        body = json.dumps({"model": MODEL, "messages": [message], "stream": True}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: engine\r\ncontent-length: %d\r\n\r\n"
        cast("asyncio.Transport", transport).write(head % len(body) + body)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 (nothing is parsed)
        """Passes a frame on."""
        self._pass(0)

    def _pass(self, place: int) -> None:
        if place == len(self._waiters):
            self._out.write(_FRAME)
        elif not self._waiters[place].done():
            self._waiters[place].set_result(None)

    async def _hop(self, place: int) -> None:
        while True:
            await self._waiters[place]
            self._waiters[place] = self._loop.create_future()
            self._pass(place + 1)


async def relay(engine: str, sink: str, hops: int, scripts: list[Script]) -> None:
    """Relays some answers at once, over a few connections to the sink."""
    loop = asyncio.get_running_loop()
    to_engine, to_sink = (address.rpartition(":") for address in (engine, sink))
    outs = [
        (await loop.create_connection(asyncio.Protocol, to_sink[0], int(to_sink[2])))[0]
        for _ in range(CONNECTIONS)
    ]
    for number, script in enumerate(scripts):
        make = partial(Reader, script, outs[number % CONNECTIONS], hops)
        await loop.create_connection(make, to_engine[0], int(to_engine[2]))
    await asyncio.sleep(_IDLE_S)


def main() -> None:
    """Relays until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", choices=("uvloop", "asyncio"))
    parser.add_argument("hops", type=int)
    parser.add_argument("engine")
    parser.add_argument("sink")
    parser.add_argument("streams", type=int)
    parser.add_argument("rate", type=float)
    given = parser.parse_args()
    tokens = round(given.rate * _IDLE_S)
    scripts = [
        Script(tokens=tokens, rate=given.rate, phase=random.random(), stamp_every=25)
        for _ in range(given.streams)
    ]
    factory = uvloop.new_event_loop if given.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(relay(given.engine, given.sink, given.hops, scripts))


if __name__ == "__main__":
    main()
