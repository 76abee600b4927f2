"""The generations of this process that callers can name: those that run, and those that may be replayed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.deadline import ROUNDING
from tokengrpc.generations.task import GenerationTask

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tokengrpc.core.model import GenerationKey


class KeptGenerations:
    """Generations by key. Each is kept until it is forgotten, which drops its events."""

    def __init__(self) -> None:
        self._tasks: dict[GenerationKey, GenerationTask] = {}
        # Those that have not ended. The others are many more on a busy server.
        self._running: dict[GenerationTask, None] = {}
        # Ended generations, the one that is forgotten first at the top, and the timer for that one.
        self._expiries: list[_Expiry] = []
        self._expiry_count = itertools.count()
        self._expiry_timer: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[GenerationTask]:
        return iter(tuple(self._tasks.values()))

    def __contains__(self, key: GenerationKey) -> bool:
        return key in self._tasks

    def get(self, key: GenerationKey) -> GenerationTask | None:
        """Returns a generation; None if there is none with this key."""
        return self._tasks.get(key)

    def add(self, task: GenerationTask) -> GenerationTask:
        """Keeps a generation, and returns it."""
        self._tasks[task.key] = task
        self._running[task] = None
        return task

    @property
    def running(self) -> Collection[GenerationTask]:
        """Those that were not forgotten, nor are to be forgotten later."""
        return tuple(self._running)

    def forget(self, task: GenerationTask) -> None:
        """Drops a generation now."""
        if self._tasks.get(task.key) is task:
            del self._tasks[task.key]
        self._running.pop(task, None)
        task.close()

    def forget_later(self, task: GenerationTask, ttl: float) -> None:
        """Drops a generation in `ttl` seconds; if it has subscribers then, once more `ttl` later."""
        self._running.pop(task, None)
        # One timer for all, because a timer takes more memory than what is kept of a short generation.
        expiry = _Expiry(asyncio.get_running_loop().time() + ttl, next(self._expiry_count), ttl, task)
        heapq.heappush(self._expiries, expiry)
        if self._expiries[0] is expiry:
            self._schedule_expiry()

    def close(self) -> None:
        """Drops all generations."""
        for task in self:
            self.forget(task)
        self._expiries.clear()
        self._schedule_expiry()

    def _schedule_expiry(self) -> None:
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
            self._expiry_timer = None
        if self._expiries:
            loop = asyncio.get_running_loop()
            self._expiry_timer = loop.call_at(self._expiries[0].at, self._expire)

    def _expire(self) -> None:
        """Drops the generations whose replay time has passed."""
        now = asyncio.get_running_loop().time() + ROUNDING
        while self._expiries and self._expiries[0].at <= now:
            expiry = heapq.heappop(self._expiries)
            if expiry.task.subscribers:
                # A replay that began in time is never cut off.
                self.forget_later(expiry.task, expiry.ttl)
            else:
                self.forget(expiry.task)
        self._schedule_expiry()


class _Expiry(msgspec.Struct, frozen=True, gc=False, order=True):
    """Time at which a generation is forgotten, on the loop's clock. `number` orders those of equal times."""

    at: float
    number: int
    ttl: float
    task: GenerationTask
