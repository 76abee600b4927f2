"""A store that is away, slow or back again, and what connections there are."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from tests.support.records import KEY, log_records
from tests.support.redis_servers import FSYNCED, Machines, until
from tests.support.redis_sinks import claimed, made, started
from tests.support.tcp_proxy import TcpProxy
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.log import AppendOutcome, AppendStatus
from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, REPEATED, *_ = AppendStatus
PURPOSES = ("appends", "commands", "reads", "cancels")


@pytest.fixture(params=["redis", "valkey"])
def machines(request) -> Iterator[Machines]:
    with Machines(request.param) as made:
        yield made


async def recovered(sink, epoch: int, first: int, last: int) -> AppendOutcome:
    """The outcome of an append that is repeated until the store is back."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await sink.append(KEY, epoch, log_records(first, last))
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_an_append_that_timed_out_is_sent_again(machines: Machines) -> None:
    """The store was stopped after it had received the append: it has it, once."""
    server = machines.single(FSYNCED)
    async with started(server.url, timeout=2.0, durability="fsynced") as sink:
        epoch = await claimed(sink, 2)
        server.send(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable, match=r"did not answer within 2 s"):
            await sink.append(KEY, epoch, log_records(3, 4))
        server.send(signal.SIGCONT)
        stored = await recovered(sink, epoch, 3, 4)
        assert stored == AppendOutcome(REPEATED, 4)
        assert list(await sink.read(KEY, 0, 1 << 20)) == log_records(1, 4)


async def test_connections_that_broke_while_idle(machines: Machines) -> None:
    """They are replaced, although the loop knew of the break before anything was written to them."""
    server = machines.single(FSYNCED)
    async with TcpProxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with started(url, durability="fsynced") as sink:
            epoch = await claimed(sink, 2)
            for last in (3, 4, 5):
                proxy.cut()
                async with started(
                    url, durability="fsynced"
                ) as later:  # by then, the loop has read the resets
                    await later.describe(KEY)
                assert (await recovered(sink, epoch, last, last)).last == last


async def test_a_store_that_crashes_and_comes_back(machines: Machines) -> None:
    """Calls fail within their bounds meanwhile. A follower has what follows, without a gap."""
    server = machines.single(FSYNCED)
    async with started(server.url, timeout=2.0, durability="fsynced") as sink:
        epoch = await claimed(sink, 2)
        server.stop()
        for call in (
            lambda: sink.append(KEY, epoch, log_records(3, 3)),
            lambda: sink.renew({KEY: epoch}),
            lambda: sink.describe(KEY),
            lambda: sink.take_over(KEY, epoch),
            lambda: sink.publish_cancel(KEY),
            lambda: sink.count_subscribers({KEY: 1}),
        ):
            async with asyncio.timeout(10):
                with pytest.raises(StoreUnavailable, match="event store"):
                    await call()
        server.start()
        assert (await recovered(sink, epoch, 3, 4)).last == 4
        async with aclosing(sink.follow(KEY, 1)) as batches:
            assert [record.sequence for record in await anext(batches)] == [2, 3, 4]
            await sink.append(KEY, epoch, log_records(5, 5, end=True))
            assert [record.sequence async for batch in batches for record in batch] == [5]


async def test_a_follower_outlives_a_broken_connection(machines: Machines) -> None:
    """Its connection is killed at every record. It receives each record once."""
    server = machines.single(FSYNCED)
    async with started(server.url, durability="fsynced") as sink:
        epoch = await claimed(sink, 1)
        seen = []
        async with aclosing(sink.follow(KEY, 0)) as batches:
            async for batch in batches:
                seen += [record.sequence for record in batch]
                last = seen[-1]
                if last == 10:
                    break
                clients = server.call("CLIENT", "LIST").decode().splitlines()
                for line in clients:
                    if ":reads " in line:
                        server.call("CLIENT", "KILL", "ID", line.split()[0].partition("=")[2])
                await recovered(sink, epoch, last + 1, last + 1)
        assert seen == list(range(1, 11))


async def test_scripts_that_were_flushed_are_loaded_again(machines: Machines) -> None:
    """By the next connection; the call may be repeated."""
    server = machines.single(FSYNCED)
    async with started(server.url, durability="fsynced") as sink:
        epoch = await claimed(sink, 1)
        server.call("SCRIPT", "FLUSH")
        with pytest.raises(StoreUnavailable):
            await sink.append(KEY, epoch, log_records(2, 2))
        assert await sink.append(KEY, epoch, log_records(2, 2)) == AppendOutcome(OK, 2)


async def test_too_few_replicas_acknowledge(machines: Machines) -> None:
    """The append is not durable, so it is not acknowledged, until a replica is back."""
    primary = machines.single({"repl-diskless-sync-delay": "0"})
    replica = machines.replica_of(primary)
    async with started(primary.url, timeout=2.0) as sink:
        epoch = await claimed(sink, 1)
        replica.send(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable, match="too few replicas"):
            await sink.append(KEY, epoch, log_records(2, 2))
        # The records are stored, but repeating the append does not make them durable.
        with pytest.raises(StoreUnavailable, match="too few replicas"):
            await sink.append(KEY, epoch, log_records(2, 2))
        replica.send(signal.SIGCONT)
        assert await recovered(sink, epoch, 2, 2) == AppendOutcome(REPEATED, 2)


async def test_readers_need_no_connection_each(machines: Machines) -> None:
    """A hundred followers share one blocking read, and no call waits for it."""
    server = machines.single(FSYNCED)
    async with (
        started(server.url, durability="fsynced") as sink,
        started(server.url, durability="fsynced") as other,
    ):
        keys = [GenerationKey("t", f"g{n}") for n in range(100)]
        epochs = [await claimed(sink, 1, key) for key in keys]

        async def follow(key: GenerationKey) -> list[int]:
            async with aclosing(other.follow(key, 0)) as batches:
                return [record.sequence async for batch in batches for record in batch]

        following = [asyncio.ensure_future(follow(key)) for key in keys]
        cancels = asyncio.ensure_future(anext(other.cancels()))
        await asyncio.to_thread(until, lambda: server.connections("reads"))
        for sequence in (2, 3):
            ending = sequence == 3
            await asyncio.gather(
                *(
                    sink.append(key, epoch, log_records(sequence, sequence, end=ending))
                    for key, epoch in zip(keys, epochs, strict=True)
                )
            )
        assert await asyncio.gather(*following) == [[1, 2, 3]] * 100
        # The other one claims nothing.
        assert [server.connections(purpose) for purpose in PURPOSES] == [1, 2, 1, 1]
        cancels.cancel()
        await asyncio.wait([cancels])


async def test_appends_of_a_moment_go_out_together(machines: Machines) -> None:
    """One pipeline for all generations: a fraction of the packets."""
    server = machines.single(FSYNCED)
    async with started(server.url, durability="fsynced", group_delay=0.02) as sink:
        keys = [GenerationKey("t", f"g{n}") for n in range(50)]
        epochs = [await claimed(sink, 0, key) for key in keys]
        before = _events(server)
        await asyncio.gather(
            *(sink.append(key, epoch, log_records(1, 1)) for key, epoch in zip(keys, epochs, strict=True))
        )
        assert _events(server) - before < len(keys) / 2


async def test_an_append_after_a_pause_is_sent_at_once(machines: Machines) -> None:
    """Only what follows within the delay gathers: the first token does not wait."""
    server = machines.single(FSYNCED)
    async with started(server.url, durability="fsynced", group_delay=1.0) as sink:
        epoch = await claimed(sink)
        now, times = asyncio.get_running_loop().time, []
        for sequence in (1, 2):
            began = now()
            await sink.append(KEY, epoch, log_records(sequence, sequence))
            times.append(now() - began)
        assert 2 * times[0] < times[1]


def _events(server) -> int:
    """Returns how often the server has read from a socket."""
    info: str = server.call("INFO", "stats").decode()
    (line,) = (line for line in info.splitlines() if line.startswith("total_reads_processed"))
    return int(line.partition(":")[2])


async def test_nothing_is_left_after_close(machines: Machines) -> None:
    """Neither tasks nor connections, also of calls and followers that were under way."""
    server = machines.single(FSYNCED)
    before = asyncio.all_tasks()
    sink = made(server.url, durability="fsynced")
    await sink.start()
    epoch = await claimed(sink, 1)
    batches = sink.follow(KEY, 1)
    following = asyncio.ensure_future(anext(batches))
    cancels = sink.cancels()
    cancel = asyncio.ensure_future(anext(cancels))
    await sink.append(KEY, epoch, log_records(2, 2))
    await following
    server.send(signal.SIGSTOP)
    hanging = asyncio.ensure_future(sink.append(KEY, epoch, log_records(3, 3)))
    await asyncio.sleep(0)
    cancel.cancel()
    await asyncio.wait([cancel])
    await batches.aclose()
    await sink.close()
    server.send(signal.SIGCONT)
    with pytest.raises(StoreUnavailable):
        await hanging
    with pytest.raises(StoreUnavailable):
        await sink.append(KEY, epoch, log_records(3, 3))
    assert asyncio.all_tasks() == before
    await asyncio.to_thread(until, lambda: not any(map(server.connections, PURPOSES)))


async def test_a_caller_that_gives_up_disturbs_nobody(machines: Machines) -> None:
    """Its call is cancelled, the connection stays, and others' calls get their own replies."""
    server = machines.single(FSYNCED)
    async with started(server.url, durability="fsynced") as sink:
        epoch = await claimed(sink, 1)
        identities = server.call("CLIENT", "LIST", "TYPE", "normal").count(b"tokengrpc:")
        for _ in range(20):
            leaving = asyncio.ensure_future(sink.describe(KEY))
            staying = asyncio.ensure_future(sink.renew({KEY: epoch}))
            await asyncio.sleep(0)
            leaving.cancel()
            assert set(await staying) == {KEY}
        assert server.call("CLIENT", "LIST", "TYPE", "normal").count(b"tokengrpc:") == identities


async def test_a_store_that_is_not_there_at_start(machines: Machines) -> None:
    """One line says so."""
    sink = made("redis://127.0.0.1:1", durability="fsynced")
    with pytest.raises(StoreUnavailable, match=r"^the event store cannot be reached: [^\n]*$"):
        await sink.start()
    await sink.close()
