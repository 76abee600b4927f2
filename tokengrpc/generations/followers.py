"""The generations of other servers that this one reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.core.log_head import LogHead
from tokengrpc.core.ports.log import LogRefused
from tokengrpc.errors import GenerationNotFound, StoreUnavailable, StreamDrained
from tokengrpc.generations.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import EventSink, LogState
    from tokengrpc.generations.services import Services


class Followers:
    """Followers by key. At most one follows a generation, however many readers it has here."""

    def __init__(self, sink: EventSink, services: Services) -> None:
        self._sink = sink
        self._services = services
        self._all: dict[GenerationKey, Follower] = {}
        # Those that are closed, and still have readers that have not noticed.
        self._closed: set[Follower] = set()
        # Tell the store that nobody reads a generation here any more.
        self._telling: set[asyncio.Task[None]] = set()
        self._stopped = False

    def __iter__(self) -> Iterator[Follower]:
        self._closed = {follower for follower in self._closed if follower.subscribers}
        return iter((*self._all.values(), *self._closed))

    def find(self, key: GenerationKey) -> Follower | None:
        """Returns the follower of a generation; None if it is not followed."""
        return self._all.get(key)

    def leave(self, key: GenerationKey) -> Follower | None:
        """Returns the follower of a generation, which is none from now on: `hand_over` it at once."""
        return self._all.pop(key, None)

    async def follow(self, key: GenerationKey, state: LogState) -> None:
        """Follows a generation that another server runs or ran. Returns when all its events are here.

        Raises StoreUnavailable, ReplayExpired.
        """
        if state.orphaned and not LogHead.decode(state.request).record_id:
            raise LogRefused("the event log was abandoned, and this server cannot read it: start again")
        follower = self._all.get(key)
        if follower is not None and follower.subscribers.buffer.incarnation != state.incarnation:
            follower.interrupt(GenerationNotFound("the generation was started anew"))
            follower = None
        if follower is None:
            follower = self._all[key] = Follower(
                key, state, self._sink, self._services, on_close=self._forget
            )
        with follower.kept():
            if not state.ended:
                # Before the owner's last reader may leave: the heartbeat, which counts too, may be too late.
                count = len(follower.subscribers) + 1
                await self._services.sink_patience.once(lambda: self._sink.count_subscribers({key: count}))
            await follower.catch_up(state.last)

    async def stop(self) -> None:
        """Ends all readers, who may resume elsewhere, and stops following."""
        for follower in self:
            for subscriber in follower.subscribers:
                subscriber.fail(StreamDrained("the server is shutting down: resume on another one"))
        await asyncio.sleep(0)

    def close(self) -> None:
        """Stops following."""
        self._stopped = True
        for follower in tuple(self._all.values()):
            follower.interrupt(StoreUnavailable("the server is shutting down: resume on another one"))

    def _forget(self, follower: Follower) -> None:
        if self._all.get(follower.key) is follower:
            del self._all[follower.key]
        if follower.subscribers:
            self._closed.add(follower)
        if not (follower.complete or self._stopped):
            task = asyncio.get_running_loop().create_task(self._tell_nobody_reads(follower.key))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell_nobody_reads(self, key: GenerationKey) -> None:
        """Tells the owner, because the heartbeat counts only the readers of what is still followed."""
        if key not in self._all:
            await self._services.sink_patience.quietly(lambda: self._sink.count_subscribers({key: 0}))
