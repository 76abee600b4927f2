"""Sentinels and clusters: the store follows its primaries."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.support.records import KEY, log_records
from tests.support.redis_servers import FSYNCED, Machines, replicate
from tests.support.redis_sinks import claimed, started
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.log import AppendOutcome, AppendStatus, LeaseStatus, TakeoverStatus
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis.options import RedisOptions
from tokengrpc.stores.redis.sealing import Unsealed
from tokengrpc.stores.redis.servers.address import read_address
from tokengrpc.stores.redis.servers.topology import Access
from tokengrpc.stores.redis.sink import RedisEventSink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

T = TypeVar("T")
KEYS = [GenerationKey("t", f"g{n}") for n in range(24)]


@pytest.fixture(params=["redis", "valkey"])
def machines(request) -> Iterator[Machines]:
    with Machines(request.param) as made:
        yield made


async def insist(call: Callable[[], Awaitable[T]], seconds: float = 30) -> T:
    """Repeats a call until the store is there again, as the server does."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_a_failover_by_sentinels(machines: Machines) -> None:
    """The primary dies. Appends, followers and cancels go on at the replica that takes its place."""
    primary = machines.single({"repl-diskless-sync-delay": "0"})
    replica = machines.replica_of(primary, {"repl-diskless-sync-delay": "0"})
    sentinel = machines.sentinel("logs", primary)
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/logs"
    async with started(url, timeout=1.0) as sink, started(url, timeout=1.0) as other:
        epoch = await insist(lambda: claimed(sink, 3))  # its replica may still be joining
        async with aclosing(other.follow(KEY, 0)) as batches, aclosing(sink.cancels()) as cancels:
            seen = [record.sequence for record in await anext(batches)]
            cancel = asyncio.ensure_future(anext(cancels))
            following = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0)
            primary.stop()
            # Without a replica of its own, the new primary cannot acknowledge: another one has to join.
            third = machines.make({"repl-diskless-sync-delay": "0", "replicaof": f"127.0.0.1 {replica.port}"})
            third.start()
            outcome = await insist(lambda: sink.append(KEY, epoch, log_records(4, 5)))
            assert outcome.status in (AppendStatus.OK, AppendStatus.REPEATED)
            assert outcome.last == 5
            seen += [record.sequence for record in await _next(following, other, seen[-1])]
            while not cancel.done():
                await insist(lambda: other.publish_cancel(KEY))
                await asyncio.wait([cancel], timeout=0.2)
            assert cancel.result() == KEY
        assert seen == [1, 2, 3, 4, 5]


async def _next(following, sink, after):
    """The next batch of a follower, which may have to begin anew because the store was away."""
    try:
        return await asyncio.wait_for(following, 30)
    except StoreUnavailable:
        return await insist(lambda: _anew(sink, after))


async def _anew(sink, after):
    """The next batch of a new follower: one that has raised an error yields nothing more."""
    async with aclosing(sink.follow(KEY, after)) as batches:
        return await anext(batches)


async def test_a_lagging_replica_takes_over(machines: Machines) -> None:
    """It has lost the end of the log. The next append would leave a hole, and is refused: 121 after 100."""
    primary = machines.single(FSYNCED)
    replica = machines.replica_of(primary, FSYNCED)
    async with started(primary.url, durability="fsynced") as sink:
        epoch = await claimed(sink, 100)
        _wait_for_offset(primary, replica)
        replica.call("REPLICAOF", "127.0.0.1", "1")  # its link is cut
        await sink.append(KEY, epoch, log_records(101, 120))
    replica.call("REPLICAOF", "NO", "ONE")
    primary.stop()
    access = Access(replica=sink.replica, timeout=5.0)
    options = RedisOptions(durability="fsynced")
    same_owner = RedisEventSink(read_address(replica.url), options, access, Unsealed())
    await same_owner.start()
    hole = await same_owner.append(KEY, epoch, log_records(121, 121))
    assert hole == AppendOutcome(AppendStatus.HOLE, 100)
    assert list(await same_owner.read(KEY, 100, 1 << 20)) == []
    await same_owner.close()
    # What the server itself would take:
    stream = next(key for key in replica.call("KEYS", "*") if key.endswith(b":log"))
    assert replica.call("XADD", stream, "121-0", "x", "y") == b"121-0"


def _wait_for_offset(primary: RedisServer, replica: RedisServer) -> None:
    assert primary.call("WAIT", 1, 10_000) == 1


async def test_an_owner_repairs_what_a_failover_lost(machines: Machines) -> None:
    """The owner stays, and its store is replaced by a copy that lags behind a fixed address."""
    primary = machines.single({"repl-diskless-sync-delay": "0"})
    replica = machines.replica_of(primary)
    sentinel = machines.sentinel("logs", primary)
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/logs"
    async with started(url, timeout=1.0, replicas=1) as sink:
        epoch = await insist(lambda: claimed(sink, 100))
        replica.call("CONFIG", "SET", "replica-read-only", "no")
        _wait_for_offset(primary, replica)
        stream = next(key for key in replica.call("KEYS", "*") if key.endswith(b":log"))
        entries = replica.call("XRANGE", stream, "-", "90-9")
        primary.stop()
        # As if 91 to 100 had never arrived.
        replica.call("DEL", stream)
        for entry, fields in entries:
            replica.call("XADD", stream, entry, *fields)
        machines.make({"replicaof": f"127.0.0.1 {replica.port}"}).start()
        hole = await insist(lambda: sink.append(KEY, epoch, log_records(101, 120)))
        assert hole == AppendOutcome(AppendStatus.HOLE, 90)
        mended = await insist(lambda: sink.append(KEY, epoch, log_records(91, 120)))
        assert mended.last == 120
        read = []
        while len(read) < 120:
            read += await insist(partial(sink.read, KEY, len(read), 1 << 20))
        assert read == log_records(1, 120)


async def test_a_cluster_of_three(machines: Machines) -> None:
    """Generations are spread over its nodes, and every call finds its node."""
    nodes = machines.cluster(3, FSYNCED)
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    async with started(url, durability="fsynced") as sink, started(url, durability="fsynced") as other:
        epochs = dict(zip(KEYS, await asyncio.gather(*(claimed(sink, 3, key) for key in KEYS)), strict=True))
        assert all(node.call("DBSIZE") for node in nodes)
        followed = asyncio.gather(*(_followed(other, key) for key in KEYS))
        for key, epoch in epochs.items():
            await sink.append(key, epoch, log_records(4, 6, end=True))
        assert await asyncio.wait_for(followed, 30) == [list(range(1, 7))] * len(KEYS)
        leases = await sink.renew(epochs)
        assert {lease.status for lease in leases.values()} == {LeaseStatus.HELD}
        more = GenerationKey("t", "more")
        epoch = await claimed(sink, 1, more)
        async with aclosing(sink.cancels()) as cancels:
            cancel = asyncio.ensure_future(anext(cancels))
            while not cancel.done():
                await other.publish_cancel(more)
                await asyncio.wait([cancel], timeout=0.2)
            assert cancel.result() == more
        await sink.release({more: epoch})
        assert list(await other.orphans(10)) == [more]
        assert (await other.take_over(more, epoch)).status is TakeoverStatus.TAKEN


async def test_slots_that_move(machines: Machines) -> None:
    """While they move and afterwards, appends go on, and readers miss nothing."""
    nodes = machines.cluster(2, FSYNCED)
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    async with started(url, durability="fsynced") as sink:
        epoch = await claimed(sink, 3)
        name = next(key for node in nodes for key in node.call("KEYS", "*}") or ())
        slot = nodes[0].call("CLUSTER", "KEYSLOT", name)
        source = next(node for node in nodes if node.call("CLUSTER", "COUNTKEYSINSLOT", slot))
        target = next(node for node in nodes if node is not source)
        ids = {node: node.call("CLUSTER", "MYID").decode() for node in nodes}
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        keys = source.call("CLUSTER", "GETKEYSINSLOT", slot, 10)
        source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        # All keys have moved, and the slot has not: the node answers ASK.
        assert (await sink.append(KEY, epoch, log_records(4, 4))).status is AppendStatus.OK
        for node in (target, source):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        # Now it answers MOVED.
        assert (await sink.append(KEY, epoch, log_records(5, 5, end=True))).status is AppendStatus.OK
        assert await _followed(sink, KEY) == [1, 2, 3, 4, 5]


async def _followed(sink, key: GenerationKey) -> list[int]:
    async with aclosing(sink.follow(key, 0)) as batches:
        return [record.sequence async for batch in batches for record in batch]


async def test_a_primary_of_a_cluster_dies(machines: Machines) -> None:
    """One of its two replicas takes its place. What was acknowledged is there, and its generations go on."""
    nodes = machines.cluster(3)
    replicate(nodes, machines)
    replicate(nodes, machines)
    async with started(f"redis+cluster://127.0.0.1:{nodes[0].port}", timeout=2.0) as sink:
        epochs = {key: await insist(partial(claimed, sink, 3, key)) for key in KEYS}
        assert nodes[1].call("DBSIZE")
        nodes[1].stop()
        for key, epoch in epochs.items():
            outcome = await insist(partial(sink.append, key, epoch, log_records(4, 5, end=True)))
            assert outcome.last == 5
            assert await _followed(sink, key) == [1, 2, 3, 4, 5]


async def test_sentinels_and_servers_with_passwords(machines: Machines, tmp_path: Path) -> None:
    """Sentinels have users of their own."""
    secured = {"requirepass": "secret", "masterauth": "secret", "repl-diskless-sync-delay": "0"}
    primary = machines.single(secured)
    machines.replica_of(primary, secured)
    sentinel = machines.sentinel("logs", primary, "secret")
    password = tmp_path / "password"
    password.write_text("secret\n")
    files = {"password_file": str(password), "sentinel_password_file": str(password)}
    async with started(f"redis+sentinel://127.0.0.1:{sentinel.port}/logs", **files) as sink:
        await insist(lambda: claimed(sink, 3))
    with pytest.raises(StoreUnavailable):
        async with started(f"redis+sentinel://:secret@127.0.0.1:{sentinel.port}/logs"):
            pass
