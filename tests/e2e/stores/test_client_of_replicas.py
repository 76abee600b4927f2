"""The Python client over several replicas that share an event store."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.killed_server import KilledServer
from tokengrpc import TokenStream, TokenStreamClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

STREAMS = 6
TOKENS = 80


@asynccontextmanager
async def replica(folder: Path, store: str) -> AsyncIterator[KilledServer]:
    """Starts a server in a process of its own."""
    durability = '[plugins.redis]\ndurability = "fsynced"\n'
    limits = "[limits]\nwithdrawal_time = 0\n"
    engine = '[[models]]\nname = "m"\nengines = [{ kind = "builtin", pace = 40.0 }]\n'
    server = KilledServer(folder, f'store = "{store}"\n{durability}{limits}{engine}')
    await server.spawn()
    await server.serve()
    try:
        yield server
    finally:
        if server.up.is_set():
            await server.end(signal.SIGTERM)


async def test_streams_go_on_at_another_replica(redis_fsynced_server: RedisServer, tmp_path: Path) -> None:
    """Streams of one server's generations, of which some are read at another one, which is killed."""
    store = redis_fsynced_server.url
    async with replica(tmp_path / "owner", store) as owner, replica(tmp_path / "reader", store) as reader:
        targets = [f"127.0.0.1:{server.port}" for server in (reader, owner)]
        async with TokenStreamClient(targets[1]) as at_owner, TokenStreamClient(targets) as anywhere:
            cursors = []
            for _ in range(STREAMS):
                stream = at_owner.stream("What is token streaming?", max_tokens=TOKENS)
                async for _token in stream:
                    break
                cursors.append(await stream.detach())
            streams = [anywhere.resume(cursor) for cursor in cursors]
            reading = []
            for stream in streams:  # one after another: the first connection would get all calls of a moment
                begun = asyncio.Event()
                reading.append(asyncio.create_task(read(stream, begun)))
                await begun.wait()
            counts = [(await at_owner.get(cursor.generation_id)).reader_count for cursor in cursors]
            assert 0 < sum(counts) < STREAMS
            await reader.end(signal.SIGKILL)
            await asyncio.gather(*reading)
            for cursor, stream in zip(cursors, streams, strict=True):
                whole = at_owner.resume(type(cursor)(cursor.generation_id))
                text = "".join([token.text async for token in whole])
                assert whole.usage.output_token_count == stream.usage.output_token_count == TOKENS
                assert text.endswith(stream.text)
    redis_fsynced_server.call("FLUSHALL")


async def read(stream: TokenStream, begun: asyncio.Event) -> None:
    """Reads a stream to its end. Sets `begun` at its first token."""
    async for _token in stream:
        begun.set()
