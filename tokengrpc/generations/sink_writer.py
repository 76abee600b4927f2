"""The writer in front of an event sink, and what it does while the store is away."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.termination import Termination
from tokengrpc.errors import StoreUnavailable, without_traceback
from tokengrpc.generations.owned_log import MOVED, LogLost, LogMoved
from tokengrpc.generations.patience import Delays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.ports.log import Record
    from tokengrpc.generations.buffer import EventBuffer
    from tokengrpc.generations.owned_log import OwnedLog
    from tokengrpc.generations.store_watch import StoreWatch

AWAY = "the event store is away: resume, here or on another server, when it is back"

log = structlog.get_logger(__name__)


class SinkWriter:
    """Writer in front of a sink: adds a record to the buffer once the sink has acknowledged it.

    Records that arrive while an append is in flight are appended together afterwards. So a slow sink delays
    readers but not the engine, up to `max_pending_bytes`. While the store is away, there are two modes:

    - strict: appends are repeated for as long as the patience of `log` allows. Then the writer has left, and
      `on_stop` is called: the generation goes on from its log, when the store is back, on any server.
    - otherwise, records are added to the buffer at once, and to the log when the store is back.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        log: OwnedLog,
        watch: StoreWatch,
        *,
        max_pending_bytes: int,
        on_stop: Callable[[Termination], None],
    ) -> None:
        """A log that is not claimed yet is claimed when the store is back. Until then, records stay here."""
        self.fenced = False
        self.farewell = MOVED
        self._buffer = buffer
        self._log = log
        self._watch = watch
        self._max_pending_bytes = max_pending_bytes
        self._on_stop = on_stop
        self._pending: deque[Record] = deque()
        self._pending_bytes = 0
        self._sending: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self._failure: StoreUnavailable | None = None
        self._logged = buffer.last_sequence
        # Whether the log may lack records that the buffer has; and whether those are shown all the same.
        self._behind = self._in_memory = self._contested = False
        self._lost = False
        self._ttl: float | None = None
        self.last_sequence = buffer.last_sequence
        if not log.epoch:
            self._go_on_in_memory()
            self._start()

    @property
    def epoch(self) -> int:
        """See `EventWriter`."""
        return 0 if self._in_memory else self._log.epoch

    @property
    def full(self) -> bool:
        """See `EventWriter`."""
        return self._pending_bytes > self._max_pending_bytes

    def write(self, records: Sequence[Record]) -> None:
        """See `EventWriter`."""
        self.last_sequence = records[-1].sequence
        if self._in_memory:
            self._buffer.append(records)
        elif self._failure is None:
            self._pending.extend(records)
            self._pending_bytes += sum(len(record.body) + len(record.tail) for record in records)
            self._start()

    async def wait_for_room(self) -> None:
        """See `EventWriter`."""
        while self.full:
            await self._wait()

    async def flush(self) -> StoreUnavailable | None:
        """See `EventWriter`."""
        while self._pending and self._failure is None:
            await self._wait()
        return None if self._in_memory else self._failure

    def abandon(self) -> None:
        """See `EventWriter`."""
        self._drop_pending()
        self.last_sequence = self._buffer.last_sequence
        self._failure, self.fenced = None, False
        self._go_on_in_memory()
        if not self._lost:
            self._start()

    def fence(self) -> None:
        """See `EventWriter`."""
        self._fail(LogMoved(MOVED))

    def contest(self) -> None:
        """See `EventWriter`."""
        self._contested = True
        self._start()

    def restore(self) -> None:
        """See `EventWriter`."""
        if not self._in_memory and not self._pending:
            self._log.epoch, self._logged, self._behind = 0, 0, True
            self._start()

    async def retain(self, ttl: float) -> None:
        """See `EventWriter`."""
        if not self._in_memory or self._lost:
            self._set_in_memory(in_memory=False)
            await self._log.retain(0.0 if self._lost else ttl)
            if self._log.epoch and ttl and not self._lost:
                self._watch.ended.add(self._log, ttl)
        elif self._buffer.last_sequence:
            self._log.detach()
            self._on_stop, self._ttl = _ignore, ttl
        elif self._sending is not None:
            self._set_in_memory(in_memory=False)
            self._sending.cancel()

    async def _wait(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    def _start(self) -> None:
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())
            if self._in_memory:
                self._watch.healing.add(self._sending)

    async def _send(self) -> None:
        """Appends what is to be appended, until nothing is left, or it cannot be done any more."""
        delays = Delays(random.random)
        try:
            while (self._pending or self._behind or self._contested) and self._failure is None:
                try:
                    await self._send_some()
                except (LogMoved, LogLost):
                    raise
                except StoreUnavailable:
                    if self._watch.strict and not self._in_memory:
                        raise
                    self._go_on_in_memory()
                    await asyncio.sleep(next(delays))
            if self._ttl is not None and self._failure is None:
                await self._log.retain(self._ttl)
        except StoreUnavailable as error:
            self._fail(error)
        except Exception:
            log.exception("unexpected error in an event sink")
            self._fail(LogLost("the event log is unavailable: try again later"))
        finally:
            if self._sending is not None:
                self._watch.healing.discard(self._sending)
            self._sending = None
        if self._lost and self._in_memory:
            # No server may go on from a log that lacks what readers have.
            await self._log.retain(0.0)

    async def _send_some(self) -> None:
        retry = self._watch.strict and not self._in_memory
        if self._contested:
            self._contested = False
            self._logged, self._behind = await self._log.regain(retry=retry), True
        if self._behind:
            if self._in_memory:
                await self._watch.wait()
            self._logged = await self._log.catch_up(self._logged, retry=retry)
            if self._logged == self._buffer.last_sequence:
                self._behind = False
                self._set_in_memory(in_memory=False)
            return
        batch = tuple(self._pending)
        await self._log.append(batch, retry=retry)
        if not self._pending:
            return
        for record in batch:
            self._pending.popleft()
            self._pending_bytes -= len(record.body) + len(record.tail)
        self._logged = batch[-1].sequence
        self._buffer.append(batch)
        self._progress.set()

    def _go_on_in_memory(self) -> None:
        """Shows what the log does not have yet, now and from now on."""
        if self._pending:
            self._buffer.append(tuple(self._pending))
        self._drop_pending()
        self._behind = not self._lost
        self._set_in_memory(in_memory=True)
        if self._sending is not None:
            self._watch.healing.add(self._sending)

    def _set_in_memory(self, *, in_memory: bool) -> None:
        self._watch.memory_only += in_memory - self._in_memory
        self._in_memory = in_memory

    def _fail(self, error: StoreUnavailable) -> None:
        if self._failure is not None:
            return
        if isinstance(error, LogLost):
            self._lost = True
            if self._in_memory or not self._watch.strict:
                log.warning("a generation stays in memory", cause=error.message)
                self._go_on_in_memory()
                return
        else:
            self.fenced = True
            self._set_in_memory(in_memory=False)
            if not isinstance(error, LogMoved):
                self.farewell = AWAY
        self._failure = without_traceback(error)  # its frames refer to this writer
        self._drop_pending()
        self._on_stop(Termination.failed(error))

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0
        self._progress.set()


def _ignore(_termination: Termination) -> None:
    """Does nothing: the generation has ended."""
