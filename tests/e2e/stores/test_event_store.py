"""The server with an event store, as its operator starts it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest
from tokenstreaming.v1 import generation_pb2, input_pb2

from tests.support.commands import serving, tokengrpc
from tests.support.harness import check_gapless, collect, read_until, upstream
from tests.support.harness import serving as serving_here
from tests.support.redis_servers import FSYNCED, Machines
from tests.support.redis_sinks import made, started
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Stall, Text
from tokengrpc.core.model import GenerationKey

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

DETACH = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)


def settings(folder: Path, url: str) -> str:
    file = folder / "tokengrpc.toml"
    file.write_text(f'store = "{url}"\n[plugins.redis]\ndurability = "fsynced"\n')
    return str(file)


async def test_events_are_in_the_store(redis_fsynced_server: RedisServer, tmp_path: Path) -> None:
    """All that the caller received, with its durability; and nothing is left but what expires."""
    url = redis_fsynced_server.url
    with serving("--config", settings(tmp_path, url), TOKENGRPC_LIMITS_WITHDRAWAL_TIME="0") as server:
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
        ("localhost:6379", "store: a URL needs a scheme and ://; installed are: memory, redis, "),
        ("rediss://127.0.0.1:1", "with rediss:// if it has TLS and redis:// if it has none"),
    ],
)
def test_a_store_that_cannot_be_used(store: str, why: str) -> None:
    """The server does not start, and says why in one line."""
    done = tokengrpc("serve", "--listen", "127.0.0.1:0", "--engine", "builtin", "--store", store)
    assert done.returncode != 0
    assert why in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


async def test_a_store_that_crashes_during_a_stream(engine: ScriptedEngine) -> None:
    """The stream pauses until the store is back, and goes on: readers and the log have the same, once."""
    with Machines() as machines:
        store = machines.single(FSYNCED)
        sink = made(store.url, timeout=2.0, durability="fsynced")
        limits = {"store_timeout": 2.0, "store_retry_time": 60.0}
        async with serving_here(upstream(engine.base_url), sink=sink, limits=limits) as server:
            engine.script(Text("One"), hold := Pause(), Text(" two"), Text(" three"), Finish(), Done())
            call = server.stream("g")
            first = await read_until(call, lambda message: message.tokens)
            await hold.reached.wait()
            store.stop()
            hold.release()
            store.start()
            outcome = await collect(call)
            assert (outcome.code, outcome.text) == (grpc.StatusCode.OK, " two three")
            check_gapless([*first, *outcome.messages])
            async with started(store.url, durability="fsynced") as reader:
                batches = reader.follow(GenerationKey("default", "g"), 0)
                sequences = [record.sequence async for batch in batches for record in batch]
            assert sequences == list(range(1, outcome.messages[-1].sequence + 1))


async def test_servers_serve_each_others_generations(
    redis_fsynced_server: RedisServer, engine: ScriptedEngine
) -> None:
    """A stream that broke on one server resumes on another one, which also cancels the generation."""
    sinks = [made(redis_fsynced_server.url, durability="fsynced") for _ in range(2)]
    async with (
        serving_here(upstream(engine.base_url), sink=sinks[0]) as first,
        serving_here(upstream(engine.base_url), sink=sinks[1]) as second,
    ):
        engine.script(Text("One"), hold := Pause(), Text(" two"), Stall())
        call = first.stream("g", recovery=DETACH)
        (*_, last) = before = await read_until(call, lambda message: message.tokens)
        call.cancel()
        resumed = second.resume("g", last.sequence)
        await read_until(resumed, lambda message: message.HasField("attached"))
        hold.release()
        after = await read_until(resumed, lambda message: message.tokens)
        check_gapless([*before, *after])
        assert after[-1].tokens[0].text == " two"
        assert (await second.cancel("g")).state == generation_pb2.GENERATION_STATE_CANCELLED
        outcome = await collect(resumed)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.CANCELLED, "CANCELLED")
        await engine.calls[0].disconnected.wait()
        assert len(engine.calls) == 1


async def test_a_store_that_stays_away_ends_streams(engine: ScriptedEngine) -> None:
    """With a cursor, within the time that the settings allow."""
    with Machines() as machines:
        store = machines.single(FSYNCED)
        sink = made(store.url, timeout=1.0, durability="fsynced")
        limits = {"store_timeout": 1.0, "store_retry_time": 1.0}
        async with serving_here(upstream(engine.base_url), sink=sink, limits=limits) as server:
            engine.script(Text("One"), hold := Pause(), Text(" two"), Stall())
            call = server.stream("g")
            await read_until(call, lambda message: message.tokens)
            await hold.reached.wait()
            store.stop()
            hold.release()
            outcome = await collect(call)
            assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert outcome.text == ""
            assert "127.0.0.1" not in outcome.message
            await engine.calls[0].disconnected.wait()
