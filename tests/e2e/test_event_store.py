"""The server with an event store, as its operator starts it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import serving, tokengrpc
from tests.support.redis_sinks import started
from tokengrpc.core.model import GenerationKey

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_servers import RedisServer


def settings(folder: Path, url: str) -> str:
    file = folder / "tokengrpc.toml"
    file.write_text(f'store = "{url}"\n[plugins.redis]\ndurability = "fsynced"\n')
    return str(file)


async def test_events_are_in_the_store(redis_fsynced_server: RedisServer, tmp_path: Path) -> None:
    """All that the caller received, with its durability; and nothing is left but what expires."""
    url = redis_fsynced_server.url
    with serving("--config", settings(tmp_path, url)) as server:
        done = server("stream", "--id", "stored", "--max-tokens", "5", "--json", "What is token streaming?")
        assert done.returncode == 0, done.stderr
        messages = [json.loads(line) for line in done.stdout.splitlines()]
        assert messages[0]["started"]["durability"] == "DURABILITY_FSYNCED"
        (key,) = redis_fsynced_server.call("KEYS", "tokengrpc:{*}")
        assert b"stored" not in key
        assert redis_fsynced_server.call("PTTL", key) > 0
        async with started(url, durability="fsynced") as sink:
            state = await sink.describe(GenerationKey("default", "stored"))
        assert state is not None
        assert (state.ended, state.last) == (True, int(messages[-1]["sequence"]))
        assert server.stop() == 0
    redis_fsynced_server.call("FLUSHALL")


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ("redis://127.0.0.1:1", "the event store cannot be reached"),
        ("redis://", "store: the URL has no host"),
        ("redis+sentinel://h", "store: the name of the service"),
        ("memcached://h", "store: `memcached` is not installed"),
    ],
)
def test_a_store_that_cannot_be_used(store: str, why: str) -> None:
    """The server does not start, and says why in one line."""
    done = tokengrpc("serve", "--listen", "127.0.0.1:0", "--engine", "builtin", "--store", store)
    assert done.returncode != 0
    assert why in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
