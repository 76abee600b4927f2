"""What a generation takes in an event store: bytes of its keys, and for each token, as the store counts them.

Runs a server with its own Redis in front of a scripted engine, which writes each token by itself, so that
each is a record of its own. Takes some seconds, and prints a table.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.pair import servers
from bench.script import MODEL, Script
from tests.support.redis_servers import FSYNCED, Machines
from tokengrpc import TokenStreamClient

if TYPE_CHECKING:
    from tests.support.redis_servers import RedisServer

LENGTHS = (1, 10, 100, 1000)
_RATE = 250.0
_PROMPT_BYTES = len(Script(tokens=1).prompt())


async def run(target: str, tokens: int) -> None:
    """Runs one generation of so many tokens, each in a record of its own."""
    script = Script(tokens=tokens, rate=_RATE, stamp_every=1_000_000)
    async with TokenStreamClient(target) as client:
        async for _ in client.stream(script.prompt(), model=MODEL):
            pass


def sizes(store: RedisServer) -> tuple[int, int, int]:
    """Returns the bytes of all streams of events and of all other keys of logs, and the number of entries."""
    events = others = entries = 0
    for key in store.call("KEYS", "tokengrpc:{*"):
        size = int(store.call("MEMORY", "USAGE", key, "SAMPLES", 0))
        if store.call("TYPE", key) == b"stream":
            events, entries = events + size, entries + int(store.call("XLEN", key))
        else:
            others += size
    return events, others, entries


def main() -> int:
    """Measures, and prints the table."""
    table = Table(title="Bytes in the event store")
    for heading in ("tokens", "entries", "head and counts", "events", "events / token"):
        table.add_column(heading, justify="right")
    with Machines() as machines, tempfile.TemporaryDirectory() as folder:
        store = machines.single(FSYNCED)
        config = Path(folder, "store.toml")
        config.write_text(f'store = "{store.url}"\n[plugins.redis]\ndurability = "fsynced"\n')
        with servers({"server": ["--config", str(config)]}) as (_, relays):
            for tokens in LENGTHS:
                store.call("FLUSHALL")
                asyncio.run(run(relays["server"].address, tokens))
                events, others, entries = sizes(store)
                per_token = f"{events / tokens:.0f}"
                table.add_row(f"{tokens:,}", f"{entries:,}", f"{others:,}", f"{events:,}", per_token)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"prompts of about {_PROMPT_BYTES} bytes", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
