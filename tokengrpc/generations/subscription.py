"""One delivery of a generation's events to one caller. It knows the log and no engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.core.deadline import stream_end
from tokengrpc.errors import StreamDeadlineExceeded

if TYPE_CHECKING:
    from types import TracebackType

    from tokengrpc.errors import StreamEnded
    from tokengrpc.generations.task import GenerationTask

# The contract's 256 KiB, less room for the tail.
MAX_MESSAGE_BYTES = 255 * 1024


class Subscription:
    """Reads a generation from a cursor to its end. Entered, it counts as a reader; left, no longer."""

    def __init__(
        self, task: GenerationTask, after: int, *, deadline_left: float | None, heartbeat: float
    ) -> None:
        self.task = task
        self.cursor = after
        self.failure: StreamEnded | None = None
        self._left = deadline_left
        self._heartbeat = heartbeat
        self._notices: list[bytes] = []
        # Of the last message, which notices repeat: the log may drop it before they are sent.
        self._tail: bytes | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        # Set by whoever writes, once per message: when it last wrote, and since when a write has hung.
        self.last_sent = self._loop.time()
        self.write_began: float | None = None

    def __enter__(self) -> Subscription:
        self._task = asyncio.current_task()
        self._timers.append(self._loop.call_later(self._heartbeat, self._beat))
        if self._left is not None:
            ends = stream_end(self._left, self.task.ends_at - self._loop.time())
            if ends is not None:
                self._timers.append(self._loop.call_later(ends, self._expire))
        self.task.join(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        self._task = None
        self.task.leave(self)

    async def next(self) -> bytes | None:
        """The next message; None after the last one.

        Raises StreamEnded when only this stream ends, ReplayExpired when it is too far behind.
        """
        log = self.task.log
        while True:
            if self.failure is not None:
                raise self.failure
            if self._notices:
                tail = log.tail(self.cursor) if self._tail is None else self._tail
                return tail + self._notices.pop(0)
            records = log.read(self.cursor, MAX_MESSAGE_BYTES)
            if records:
                last = records[-1]
                self.cursor = last.sequence
                self._tail = last.tail
                if len(records) == 1:
                    return last.body + last.tail
                return b"".join([record.body for record in records]) + last.tail
            if self.task.done:
                return None
            await self._wait()

    def notify(self, notice: bytes) -> None:
        """Queues a notice, which goes out before further events."""
        self._notices.append(notice)
        self.wake()

    def fail(self, failure: StreamEnded, *, interrupt: bool = False) -> None:
        """Ends only this stream; `interrupt` does so in the middle of a write."""
        if self.failure is None:
            self.failure = failure
            self.wake()
        # A write may hang though a failure waits behind it.
        if interrupt and self._task is not None:
            self._task.cancel()

    def wake(self) -> None:
        """There may be something to read."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _beat(self) -> None:
        # One timer per reader that looks back, not one per message that is moved.
        silent = self._loop.time() - self.last_sent
        if silent >= self._heartbeat:
            self._notices.append(self.task.encoder.heartbeat(self.task.generation.state))
            self.wake()
            silent = 0.0
        self._timers[0] = self._loop.call_later(self._heartbeat - silent, self._beat)

    def _expire(self) -> None:
        self.fail(
            StreamDeadlineExceeded(
                "this stream's deadline came before the generation's end: resume after the last sequence seen"
            )
        )
