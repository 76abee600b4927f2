"""Event writers: move the records of a generation into its buffer, through the event sink if there is one."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

import structlog

from tokengrpc.core.ports.log import AppendStatus
from tokengrpc.core.termination import Termination
from tokengrpc.errors import ReplayExpired, StoreUnavailable, without_traceback
from tokengrpc.generations.leases import cancelled_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import EventSink, Record
    from tokengrpc.generations.buffer import EventBuffer
    from tokengrpc.generations.patience import StorePatience

log = structlog.get_logger(__name__)

MOVED = "another server has taken over this generation: resume there"
_REPAIR_BYTES = 256 * 1024


class EventWriter(Protocol):
    """Takes records in order. Readers see a record once it is in the buffer."""

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record that was written, whether or not readers can see it yet."""

    @property
    def epoch(self) -> int:
        """Epoch in which this server owns the log; 0 without a sink."""

    @property
    def fenced(self) -> bool:
        """Whether another server owns the log by now: nothing is written any more."""

    @property
    def full(self) -> bool:
        """Whether there are too many unacknowledged records: wait for room before the next write."""

    def write(self, records: Sequence[Record]) -> None:
        """Takes records. Never waits."""

    async def wait_for_room(self) -> None:
        """Returns when the writer is no longer full."""

    async def flush(self) -> StoreUnavailable | None:
        """Waits until readers can see all records. Returns the error if that is no longer possible."""

    def abandon(self) -> None:
        """Drops records that readers cannot see yet, and writes to the buffer only from now on."""

    def fence(self) -> None:
        """Notes that another server owns the log. Nothing is written any more."""


class BufferWriter:
    """Writer without a sink: readers see a record at once."""

    full = fenced = False
    epoch = 0

    def __init__(self, buffer: EventBuffer) -> None:
        self.write = buffer.append
        self._buffer = buffer

    @property
    def last_sequence(self) -> int:
        """See `EventWriter`."""
        return self._buffer.last_sequence

    async def wait_for_room(self) -> None:
        """See `EventWriter`."""

    async def flush(self) -> None:
        """See `EventWriter`."""

    def abandon(self) -> None:
        """See `EventWriter`."""

    def fence(self) -> None:
        """See `EventWriter`."""


class SinkWriter:
    """Writer in front of a sink: adds a record to the buffer once the sink has acknowledged it.

    Records that arrive while an append is in flight are appended together afterwards. So a slow sink delays
    readers but not the engine, up to `max_pending_bytes`. An append that fails is repeated for as long as
    `patience` allows; then `on_stop` is called, and readers see no more records.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        sink: EventSink,
        key: GenerationKey,
        epoch: int,
        *,
        patience: StorePatience,
        max_pending_bytes: int,
        on_stop: Callable[[Termination], None],
    ) -> None:
        self._buffer = buffer
        self._sink = sink
        self._key = key
        self.epoch = epoch
        self.fenced = False
        self._patience = patience
        self._max_pending_bytes = max_pending_bytes
        self._on_stop = on_stop
        self._pending: deque[Record] = deque()
        self._pending_bytes = 0
        self._sending: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self._failure: StoreUnavailable | None = None
        self._abandoned = False
        self.last_sequence = buffer.last_sequence

    @property
    def full(self) -> bool:
        """See `EventWriter`."""
        return self._pending_bytes > self._max_pending_bytes

    def write(self, records: Sequence[Record]) -> None:
        """See `EventWriter`."""
        self.last_sequence = records[-1].sequence
        if self._abandoned:
            self._buffer.append(records)
        if self._abandoned or self._failure is not None:
            return
        self._pending.extend(records)
        self._pending_bytes += sum(len(record.body) + len(record.tail) for record in records)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def wait_for_room(self) -> None:
        """See `EventWriter`."""
        while self.full:
            await self._wait()

    async def flush(self) -> StoreUnavailable | None:
        """See `EventWriter`."""
        while self._pending and self._failure is None:
            await self._wait()
        return None if self._abandoned else self._failure

    def abandon(self) -> None:
        """See `EventWriter`."""
        self._abandoned = True
        self._drop_pending()
        self.last_sequence = self._buffer.last_sequence

    def fence(self) -> None:
        """See `EventWriter`."""
        self.fenced = True
        if self._failure is None:
            self._fail(StoreUnavailable(MOVED))

    async def _wait(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    async def _send(self) -> None:
        try:
            while self._pending:
                batch = tuple(self._pending)
                if await self._append(batch) and self._failure is None:  # `fence` may have been called
                    for record in batch:
                        self._pending.popleft()
                        self._pending_bytes -= len(record.body) + len(record.tail)
                    self._buffer.append(batch)
                    self._progress.set()
        except StoreUnavailable as error:
            self._fail(error)
        except Exception:
            log.exception("unexpected error in an event sink", generation_id=self._key.generation_id)
            self._fail(StoreUnavailable("the event log is unavailable: try again later"))
        finally:
            self._sending = None

    async def _append(self, records: Sequence[Record]) -> bool:
        """Appends records, with retries. Returns False if the log had lost records and was repaired."""
        outcome = await self._patience.retry(lambda: self._sink.append(self._key, self.epoch, records))
        match outcome.status:
            case AppendStatus.FENCED:
                self.fenced = True
                raise StoreUnavailable(MOVED)
            case AppendStatus.UNKNOWN:
                raise StoreUnavailable("the event log is gone: start again")
            case AppendStatus.HOLE:
                await self._repair(outcome.last, records[0].sequence)
                return False
            case AppendStatus.CANCEL_REQUESTED:
                self._on_stop(cancelled_elsewhere())
        return True

    async def _repair(self, last: int, until: int) -> None:
        """Appends records that the log has lost, for example in a failover to an older replica."""
        log.warning("the event log lost events: writing them again", after=last)
        while last + 1 < until:
            try:
                records = self._buffer.records(last, _REPAIR_BYTES)
            except ReplayExpired:
                raise StoreUnavailable(
                    "the event log lost events that this server no longer keeps: start again"
                ) from None
            await self._append(records)
            last = records[-1].sequence

    def _fail(self, error: StoreUnavailable) -> None:
        self._failure = without_traceback(error)  # its frames refer to this writer
        self._drop_pending()
        self._on_stop(Termination.failed(error))

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0
        self._progress.set()
