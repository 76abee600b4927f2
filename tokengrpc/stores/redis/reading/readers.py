"""Readers of followed streams: one blocking read over all of them, or one group of reads per interval."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import structlog

from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis.reading.followed import Followers
from tokengrpc.stores.redis.servers.pipe import BROKEN, hang_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis.asyncio.connection import AbstractConnection

    from tokengrpc.stores.redis.entries import RawEntry
    from tokengrpc.stores.redis.reading.followed import Follower
    from tokengrpc.stores.redis.servers.calls import Calls
    from tokengrpc.stores.redis.servers.topology import Topology

log = structlog.get_logger(__name__)

_MAX_ENTRIES = 256
"""Most entries of a stream in one reply."""
_BLOCK = 5.0
"""Longest blocking read, in seconds. The wake-up key ends it when a follower comes or goes."""


class Reader(Protocol):
    """Reads streams for their followers."""

    def add(self, follower: Follower) -> None:
        """Adds a follower."""

    def remove(self, follower: Follower) -> None:
        """Removes a follower."""

    async def close(self) -> None:
        """Ends the reads."""


class _Reads:
    """Base of readers: a task that runs while there are followers."""

    def __init__(self) -> None:
        self._followers = Followers()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def add(self, follower: Follower) -> None:
        """See `Reader`. Raises StoreUnavailable after `close`."""
        if self._closed:
            raise StoreUnavailable("the event store was closed: try another server")
        self._followers.add(follower)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def remove(self, follower: Follower) -> None:
        """See `Reader`."""
        self._followers.remove(follower)

    async def close(self) -> None:
        """See `Reader`."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        raise NotImplementedError


class BlockingReader(_Reads):
    """One connection with one blocking read over all streams. For stores that are no cluster.

    When the set of streams changes, an entry of the stream `wake` ends the read that is under way.
    """

    def __init__(
        self,
        topology: Topology,
        calls: Calls,
        wake: str,
        backoff: Callable[[], Iterator[float]],
        timeout: float,
    ) -> None:
        super().__init__()
        self._topology = topology
        self._calls = calls
        self._wake = wake
        self._woken = b"0-0"
        self._backoff = backoff
        # Also between reads that fail, as all do while one of the streams has data of others.
        self._delays = backoff()
        self._failing = False
        self._timeout = timeout

    async def _run(self) -> None:
        waking = asyncio.get_running_loop().create_task(self._wake_up())
        try:
            while True:
                await self._read_until_failure()
                await asyncio.sleep(next(self._delays))
        finally:
            waking.cancel()
            with suppress(asyncio.CancelledError):
                await waking

    async def _read_until_failure(self) -> None:
        connection: AbstractConnection | None = None
        try:
            connection = await self._topology.connect(self._topology.hosts()[0], "reads")
            while True:
                await self._read(connection)
                self._delays, self._failing = self._backoff(), False
        except (*BROKEN, TimeoutError) as error:
            if not self._failing:
                self._failing = True
                log.warning("followed streams cannot be read", cause=str(error)[:200] or type(error).__name__)
        finally:
            if connection is not None:
                await hang_up(connection)

    async def _read(self, connection: AbstractConnection) -> None:
        positions = self._followers.positions()
        keys = (self._wake, *positions)
        # It begins after ids that are known, never after `$`: entries may come between two reads.
        ids = (self._woken, *map(_after, positions.values()))
        arguments = ("COUNT", _MAX_ENTRIES, "BLOCK", round(_BLOCK * 1000), "STREAMS", *keys, *ids)
        async with asyncio.timeout(_BLOCK + self._timeout):
            await connection.send_command("XREAD", *arguments, check_health=False)
            reply: Sequence[tuple[bytes, list[RawEntry]]] | None = await connection.read_response()
        for name, entries in reply or ():
            stream = name.decode()
            if stream == self._wake:
                self._woken = entries[-1][0]
            else:
                self._followers.give(stream, entries)

    async def _wake_up(self) -> None:
        """Ends the read that is under way whenever the followers change."""
        changed = self._followers.changed
        while True:
            await changed.wait()
            changed.clear()
            with suppress(StoreUnavailable):
                await self._calls.call("XADD", self._wake, "MAXLEN", 1, "*", "w", "", on=self._wake)
                await self._calls.call("PEXPIRE", self._wake, 3_600_000, on=self._wake)


class PollingReader(_Reads):
    """Reads that do not block, one per stream and interval. A cluster allows no read over several slots."""

    def __init__(self, calls: Calls, interval: float) -> None:
        super().__init__()
        self._calls = calls
        self._interval = interval

    async def _run(self) -> None:
        while True:
            positions = self._followers.positions()
            if not positions:
                self._followers.changed.clear()
                await self._followers.changed.wait()
                continue
            await asyncio.gather(*(self._read(stream, after) for stream, after in positions.items()))
            await asyncio.sleep(self._interval)

    async def _read(self, stream: str, after: int) -> None:
        with suppress(StoreUnavailable):
            reply = await self._calls.call(
                "XREAD", "COUNT", _MAX_ENTRIES, "STREAMS", stream, _after(after), on=stream
            )
            for _, entries in reply or ():
                self._followers.give(stream, entries)


def _after(sequence: int) -> str:
    """Returns the id after which entries are read: the last one that a sequence can have."""
    return f"{sequence}-18446744073709551615"
