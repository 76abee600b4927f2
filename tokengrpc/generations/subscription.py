"""The subscription: one delivery of a generation's events to one caller."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING

from tokengrpc.core.deadline import stream_end
from tokengrpc.core.model import State
from tokengrpc.errors import StreamDeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tokengrpc.errors import StreamEnded
    from tokengrpc.generations.subscribers import Subscribers

# The contract allows 256 KiB; 1 KiB is for the tail.
MAX_MESSAGE_BYTES = 255 * 1024

_TICK = 0.01
"""Output that waits becomes due at multiples of this many seconds, so that streams share wake-ups."""

_STARTED = 1
"""Sequence of the event `started`, after which the first output does not wait."""


class Subscription:
    """Reader of a generation from a cursor to its end. While entered, it counts as a subscriber."""

    def __init__(
        self,
        subscribers: Subscribers,
        after: int,
        *,
        deadline_left: float | None,
        heartbeat: float,
        queue_heartbeat: float,
        on_begin: Callable[[Subscription], None],
        on_end: Callable[[Subscription], None],
    ) -> None:
        """Takes the last sequence that the caller has as `after`; times are in seconds.

        `heartbeat` is the interval of heartbeats, `queue_heartbeat` that until an engine has accepted.
        """
        self.cursor = after
        self.failure: StreamEnded | None = None
        self.messages = 0
        self._subscribers = subscribers
        self._deadline_left = deadline_left
        self._heartbeat = heartbeat
        self._queue_heartbeat = min(heartbeat, queue_heartbeat)
        self._on_begin = on_begin
        self._on_end = on_end
        self._notices: list[bytes] = []
        # The tail of the last message. Notices repeat it, and the buffer may have dropped it by then: also
        # before the first event, while the caller has not taken a notice yet.
        self._tail = subscribers.buffer.tail(after)
        self._waiter: asyncio.Future[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        # Set by the writing task, once per message: the time of the last write, the start of a pending write.
        self.last_sent = self._loop.time()
        self.write_began: float | None = None
        self._flush_interval = 0.0
        self._flush_at = 0.0  # when the next output is due
        self._flushing_to = 0  # the last event that was there when output was due
        self._holding = False  # until output is due, only what must not wait wakes the subscription

    def __enter__(self) -> Subscription:
        self._task = asyncio.current_task()
        self._timers.append(self._loop.call_later(self._interval, self._beat))
        if self._deadline_left is not None:
            ends = stream_end(self._deadline_left, self._subscribers.ends_at - self._loop.time())
            if ends is not None:
                self._timers.append(self._loop.call_later(ends, self._expire))
        self._subscribers.join(self)
        self._on_begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._task = None
        self._subscribers.leave(self)
        self._on_end(self)

    async def next(self, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes | None:
        """Returns the next message, of `max_bytes` unless a single event is larger.

        Returns None after the last one, and once this stream alone has a `failure`.

        Raises ReplayExpired if the subscription is too far behind.
        """
        subscribers = self._subscribers
        buffer = subscribers.buffer
        while True:
            if self.failure is not None:
                # Not raised here: its traceback would refer to this subscription, which refers to it.
                return None
            if self._notices:
                self.messages += 1
                return subscribers.encoder.notice(self._tail, self._notices.pop(0))
            if self._flush_interval and self._must_hold():
                await self._hold()
                continue
            message = buffer.read(self.cursor, max_bytes)
            if message is not None:
                self.messages += 1
                self.cursor = message.sequence
                self._tail = message.tail
                return message.data
            if subscribers.complete:
                return None
            await self._wait()

    def flush_every(self, seconds: float) -> None:
        """Sets the shortest time between two deliveries of output; 0 delivers at once. Called before `next`.

        Each delivery has all that has arrived. The first output and the end do not wait.
        """
        self._flush_interval = seconds

    def notify(self, notice: bytes) -> None:
        """Queues a notice, which is sent before further events."""
        self._notices.append(notice)
        self.wake()

    def fail(self, failure: StreamEnded, *, interrupt: bool = False) -> None:
        """Ends only this stream; with `interrupt`, also in the middle of a write."""
        if self.failure is None:
            self.failure = failure
            self.wake()
        # A pending write may hang, even if a failure is set already.
        if interrupt and self._task is not None:
            self._task.cancel()

    def wake(self) -> None:
        """Notifies the subscription that there may be something to read."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._holding and not (self._notices or self.failure or self._subscribers.complete):
            return
        waiter.set_result(None)

    def _must_hold(self) -> bool:
        """Returns whether there is output that is not due yet."""
        last = self._subscribers.buffer.last_sequence
        if self.cursor < self._flushing_to or self.cursor >= last or self._subscribers.complete:
            return False
        now = self._loop.time()
        if now < self._flush_at:
            return True
        self._flushing_to = last
        if last > _STARTED:
            self._flush_at = ceil((now + self._flush_interval) / _TICK) * _TICK
        return False

    async def _hold(self) -> None:
        """Returns when output is due, or when there is something that does not wait for it."""
        self._holding = True
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_at(self._flush_at, _set, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None
            self._holding = False

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _beat(self) -> None:
        # One timer per subscription, which checks the time of the last message, instead of one per message.
        subscribers = self._subscribers
        interval = self._interval
        silent = self._loop.time() - self.last_sent
        if silent >= interval:
            position = subscribers.queue_position
            self.notify(subscribers.encoder.heartbeat(subscribers.state, position))
            silent = 0.0
        self._timers[0] = self._loop.call_later(interval - silent, self._beat)

    @property
    def _interval(self) -> float:
        return self._queue_heartbeat if self._subscribers.state is State.QUEUED else self._heartbeat

    def _expire(self) -> None:
        self.fail(
            StreamDeadlineExceeded(
                "this stream's deadline passed before the generation ended: resume after the last sequence"
            )
        )


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
