"""Data of others under our keys: it hurts the log that it is in, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.harness import collect, read_until, serving, until, upstream
from tests.support.records import KEY, log_records
from tests.support.redis_sinks import claimed, made, started
from tests.support.scripted_engine import Pause, ScriptedEngine, Text
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.log import LogRefused, TakeoverStatus
from tokengrpc.errors import GenerationNotFound, StoreUnavailable
from tokengrpc.stores.redis.keys import KeyNames, encode_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.redis_servers import RedisServer
    from tokengrpc.stores.redis.sink import RedisEventSink

NAMES = KeyNames("tokengrpc")
BAD = GenerationKey("default", "bad")
LOG, STREAM = NAMES.log(BAD), NAMES.stream(BAD, "log")


@pytest.fixture(params=["redis", "valkey"])
def server(request) -> Iterator[RedisServer]:
    found = request.getfixturevalue(
        "redis_fsynced_server" if request.param == "redis" else "valkey_replicated_server"
    )
    yield found
    found.call("FLUSHALL")


@pytest.fixture
def durability(server: RedisServer) -> str:
    return "fsynced" if b"aof_enabled:1" in server.call("INFO", "persistence") else "replicated"


def abandoned(server: RedisServer, **change: Any) -> None:
    """Writes the log of a dead server, with changed fields; None leaves a field out."""
    fields = {
        "owner": "dead",
        "epoch": "1",
        "leased_until": "0",
        "incarnation": "log",
        "key": b"\0" + encode_key(BAD),
        "fingerprint": b"\0f",
        "request": b"\0r",
        **change,
    }
    for name, value in fields.items():
        if value is not None:
            server.call("HSET", LOG, name, value)


def entry(server: RedisServer, *fields: str) -> None:
    abandoned(server)
    server.call("XADD", STREAM, "1-1", *fields)


FOREIGN: dict[str, Callable[[RedisServer], Any]] = {
    "another type at the log": lambda server: server.call("SET", LOG, "x"),
    "only a field of ours": lambda server: abandoned(
        server, **dict.fromkeys(("owner", "epoch", "leased_until", "key", "fingerprint", "request"))
    ),
    "an epoch that is no number": lambda server: abandoned(server, epoch="x"),
    "no lease": lambda server: abandoned(server, leased_until=None),
    "a lease that is no number": lambda server: abandoned(server, leased_until="x"),
    "no key": lambda server: abandoned(server, key=None),
    "a key of no generation": lambda server: abandoned(server, key=b"\0\xff"),
    "a key that another one sealed": lambda server: abandoned(server, key=b"\1" + bytes(40)),
    "a truncated request": lambda server: abandoned(server, request=b""),
    "another type at the records": lambda server: (abandoned(server), server.call("SET", STREAM, "x")),
    "another type at the readers": lambda server: (
        abandoned(server),
        server.call("SET", f"{LOG}:readers", "x"),
    ),
    "numbers of readers that are none": lambda server: (
        abandoned(server),
        server.call("HSET", f"{LOG}:readers", "x", "y"),
    ),
    "an unknown kind of record": lambda server: entry(server, "LATER", "\0\0\0\0\0"),
    "a truncated record": lambda server: entry(server, "STARTED", "\0\0\0\7t"),
    "a record without its body": lambda server: entry(server, "STARTED", "\0\0\0\0"),
    "a record of several fields": lambda server: entry(server, "STARTED", "x", "TOKENS", "y"),
}


async def follow(sink: RedisEventSink) -> None:
    async with aclosing(sink.follow(BAD, 0)) as batches, asyncio.timeout(1):
        await anext(batches)


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_only_its_own_log_is_refused(server: RedisServer, durability: str, foreign: str) -> None:
    """All calls for other logs work, also those that are made together with it."""
    async with (
        started(server.url, durability=durability) as sink,
        started(server.url, durability=durability) as other,
    ):
        epoch = await claimed(sink, 2)
        FOREIGN[foreign](server)
        server.call("ZADD", NAMES.running, 0, NAMES.hash(BAD))
        for call in (
            lambda: other.describe(BAD),
            lambda: other.read(BAD, 0, 1),
            lambda: other.claim(BAD, b"", b"", "new"),
            lambda: other.append(BAD, 1, log_records(1, 1)),
            lambda: other.take_over(BAD, 1),
            lambda: other.publish_cancel(BAD),
            lambda: other.retain(BAD, 1, 1.0),
            lambda: follow(other),
        ):
            with suppress(LogRefused, GenerationNotFound, TimeoutError):
                await call()
        assert set(await sink.renew({BAD: 1, KEY: epoch})) >= {KEY}
        assert (await sink.count_subscribers({BAD: 1, KEY: 1}))[KEY] == 1
        await sink.release({BAD: 1, KEY: epoch})
        assert KEY in await other.orphans(1)
        assert (await other.take_over(KEY, epoch)).status is TakeoverStatus.TAKEN
        assert list(await other.read(KEY, 0, 1 << 20)) == log_records(1, 2)


async def test_a_list_that_is_none(server: RedisServer, durability: str) -> None:
    """Abandoned generations cannot be looked for, and are still taken over by those who ask for them."""
    async with started(server.url, durability=durability) as sink:
        server.call("SET", NAMES.running, "x")
        epoch = await claimed(sink, 2)
        with pytest.raises(LogRefused):
            await sink.orphans(1)
        await sink.release({KEY: epoch})
        assert (await sink.take_over(KEY, epoch)).status is TakeoverStatus.TAKEN


async def test_names_in_the_list_that_are_no_generations(server: RedisServer, durability: str) -> None:
    """They are removed, and keep nobody from the others."""
    async with started(server.url, durability=durability) as sink:
        epoch = await claimed(sink, 2)
        await sink.release({KEY: epoch})
        for name in (b"\xff", b"other", b"}"):
            server.call("ZADD", NAMES.running, 0, name)
        found: list[GenerationKey] = []
        while not found:
            found += await sink.orphans(1)
        assert found == [KEY]
        await sink.orphans(9)
        assert server.call("ZRANGE", NAMES.running, 0, -1) == [NAMES.hash(KEY).encode()]


async def test_rates_of_one_tenant(server: RedisServer, durability: str) -> None:
    """Those of the others are counted, and nobody takes the store for away."""
    async with started(server.url, durability=durability) as sink:
        windows = sink.rate_windows(60)
        try:
            await windows.take("tokens of one", 9, 1)
            await windows.acquire_entry("requests of one", 9, 60)
            for key in server.call("KEYS", f"{NAMES.prefix}:rates*"):
                server.call("SET", key, "x")
            with pytest.raises(LogRefused):
                await windows.take("tokens of one", 9, 1)
            with pytest.raises(LogRefused):
                await windows.acquire_entry("requests of one", 9, 60)
            assert (await windows.take("tokens of another", 9, 1))[0] == 0
            assert await windows.acquire_entry("requests of another", 9, 60)
        finally:
            await windows.close()


async def test_a_refused_channel_and_a_refused_stream(server: RedisServer, durability: str, capsys) -> None:
    """They are tried again with growing delays, not as fast as the store answers, and told once."""
    async with started(server.url, durability=durability) as sink:
        epoch = await claimed(sink, 1)
        server.call("ACL", "SETUSER", "default", "resetchannels", "&nothing")
        cancels = sink.cancels()
        waiting = asyncio.ensure_future(anext(cancels))
        batches = sink.follow(KEY, 1)
        following = asyncio.ensure_future(anext(batches))
        await until(lambda: server.connections("reads"), "it follows")
        server.call("SET", NAMES.wake(sink.replica), "x")
        before = server.call("INFO", "stats")
        for n in range(2, 9):  # read by other calls meanwhile, at least twice per lease
            await sink.append(KEY, epoch, log_records(n, n))
            assert [record.sequence for record in await following] == [n]
            following = asyncio.ensure_future(anext(batches))
        after = server.call("INFO", "stats")
        for task in (waiting, following):
            task.cancel()
            await asyncio.wait([task])
        server.call("ACL", "SETUSER", "default", "allchannels")
    assert _connected(after) - _connected(before) < 100
    told = capsys.readouterr().out
    assert told.count("cancels of other servers arrive late") == 1
    assert told.count("followed streams cannot be read") == 1


def _connected(stats: bytes) -> int:
    (line,) = (line for line in stats.splitlines() if line.startswith(b"total_connections_received:"))
    return int(line.partition(b":")[2])


@pytest.mark.parametrize("foreign", [*FOREIGN, "sealed with a key that one server lacks"])
@pytest.mark.parametrize("server", ["redis"], indirect=True)
async def test_a_server_takes_the_others_over(
    server: RedisServer, engine: ScriptedEngine, foreign: str, tmp_path
) -> None:
    """The store is not away, and the generation of a server that has gone ends as it would without."""
    store, options = server, {"durability": "fsynced", "lease": 0.5}
    dead = made(store.url, **options)
    async with (
        serving(upstream(engine.base_url), sink=made(store.url, **options)) as alive,
        serving(upstream(engine.base_url), sink=dead) as gone,
    ):
        engine.script(Text("One"), Pause())
        call = gone.stream("good")
        await read_until(call, lambda message: message.tokens)
        if foreign in FOREIGN:
            FOREIGN[foreign](store)
        else:
            key = tmp_path / "key"
            key.write_text(base64.b64encode(os.urandom(32)).decode())
            async with started(store.url, encryption_key_files=[str(key)], **options) as sealed:
                await sealed.release({BAD: await claimed(sealed, 2, BAD)})
        store.call("ZADD", NAMES.running, 0, NAMES.hash(BAD))
        await dead.close()
        await until(lambda: any(task.key.generation_id == "good" for task in alive.tasks), "taken over")
        outcome = await collect(alive.resume("good"))
        assert (outcome.text, outcome.info and outcome.info.reason) == ("One", "SERVER_LOST")
        async with asyncio.timeout(10):
            refused = await collect(alive.resume("bad"))
        assert not refused.text
        assert refused.info is not None
        assert refused.info.reason in ("STORE_UNAVAILABLE", "GENERATION_NOT_FOUND")
        assert alive.server.store_watch is not None
        assert alive.server.store_watch.available
        call.cancel()


@pytest.mark.parametrize(
    ("missing", "named"),
    [("-@write", "set"), ("-@read", "get"), ("-time", "time"), ("resetchannels", "channel")],
)
async def test_a_user_that_may_not_do_what_is_needed(server: RedisServer, missing: str, named: str) -> None:
    """The server does not start, and says which permission is missing."""
    server.call("ACL", "SETUSER", "limited", "on", ">pw", "~*", "allchannels", "+@all", missing)
    url = server.url.replace("redis://", "redis://limited:pw@")
    sink = made(url, durability="fsynced" if b"aof_enabled:1" in server.call("INFO") else "replicated")
    with pytest.raises(Exception, match=f"^store: the event store's user lacks a permission.*{named}"):
        await sink.start()
    await sink.close()


@pytest.mark.parametrize(
    ("name", "value", "mended", "why"),
    [("maxmemory", "1", "0", "the event store is full"), ("replicaof", "127.0.0.1 1", "no one", "replica")],
)
async def test_a_store_that_takes_no_writes_at_start(
    redis_fsynced_server: RedisServer, name: str, value: str, mended: str, why: str
) -> None:
    """The server does not start, and says why."""
    store = redis_fsynced_server

    def put(setting: str) -> None:
        store.call(
            *(("REPLICAOF", *setting.split()) if name == "replicaof" else ("CONFIG", "SET", name, setting))
        )

    put(value)
    sink = made(store.url, durability="fsynced")
    with pytest.raises(StoreUnavailable, match=why):
        await sink.start()
    await sink.close()
    put(mended)
