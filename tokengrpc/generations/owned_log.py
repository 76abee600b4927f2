"""The log of a generation that runs here, in the event store: claims, appends and repairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.ports.log import AppendStatus, TakeoverStatus
from tokengrpc.errors import ReplayExpired, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import EventSink, Record
    from tokengrpc.generations.buffer import EventBuffer
    from tokengrpc.generations.patience import StorePatience

log = structlog.get_logger(__name__)

MOVED = "another server has taken over this generation: resume there"
_REPAIR_BYTES = 256 * 1024


class LogMoved(StoreUnavailable):
    """Log that another server owns."""


class LogLost(StoreUnavailable):
    """Log that lacks events which this server no longer keeps."""


class OwnedLog:
    """A log that this server writes, from a buffer that has all records before the next ones.

    What the store has lost of it, or all of it, is written again. `epoch` is 0 until it is claimed.
    """

    def __init__(
        self,
        sink: EventSink,
        key: GenerationKey,
        buffer: EventBuffer,
        patience: StorePatience,
        *,
        epoch: int,
        fingerprint: bytes,
        head: Callable[[], bytes],
        on_cancel: Callable[[], None],
    ) -> None:
        """`fingerprint` and `head` are those of a claim. `on_cancel` is called when the log says so."""
        self.epoch = epoch
        self._sink = sink
        self._key = key
        self._buffer = buffer
        self._patience = patience
        self._fingerprint = fingerprint
        self._head = head
        self._on_cancel = on_cancel

    async def append(self, records: Sequence[Record], *, retry: bool) -> None:
        """Appends records, with retries or without. Raises LogMoved, LogLost, StoreUnavailable."""
        first, batch = records[0].sequence, records
        call = self._patience.retry if retry else self._patience.once
        while True:
            if not self.epoch:
                await self._claim(retry=retry)
            sent = batch
            outcome = await call(lambda: self._sink.append(self._key, self.epoch, sent))  # noqa: B023 - awaited here
            match outcome.status:
                case AppendStatus.FENCED:
                    missing = await self.regain(retry=retry)
                case AppendStatus.UNKNOWN:
                    log.warning("an event log is gone: writing it again", last=first - 1)
                    self.epoch, missing = 0, 0
                case AppendStatus.HOLE:
                    log.warning("an event log lost events: writing them again", after=outcome.last)
                    missing = outcome.last
                case status:
                    if status is AppendStatus.CANCEL_REQUESTED:
                        self._on_cancel()
                    if batch is records:
                        return
                    missing = batch[-1].sequence
            batch = records if missing + 1 >= first else self._kept(missing, first)

    async def regain(self, *, retry: bool) -> int:
        """Takes the log over again if a failover lost that this server had. Returns its last sequence.

        Raises LogMoved if another server owns it, or has written to it since; StoreUnavailable.
        """
        call = self._patience.retry if retry else self._patience.once
        state = await call(lambda: self._sink.describe(self._key))
        if state is None or state.incarnation != self._buffer.incarnation or state.epoch >= self.epoch:
            raise LogMoved(MOVED)
        last = state.last
        end = await call(lambda: self._sink.read(self._key, last - 1, 1)) if last else ()
        if end and end[-1].tail != self._buffer.tail(last):
            raise LogMoved(MOVED)
        taken = await call(lambda: self._sink.take_over(self._key, state.epoch))
        if taken.status is not TakeoverStatus.TAKEN or taken.last != last:
            raise LogMoved(MOVED)
        log.warning("an event log forgot its owner: it is this server's again", after=last)
        self.epoch = taken.epoch
        return last

    async def catch_up(self, after: int, *, retry: bool) -> int:
        """Appends a part of what the buffer has after a sequence. Returns the last sequence in the log.

        Raises LogMoved, LogLost, StoreUnavailable.
        """
        records = self._kept(after, self._buffer.last_sequence + 1)
        if records:
            await self.append(records, retry=retry)
        elif not self.epoch:
            await self._claim(retry=retry)
        return records[-1].sequence if records else after

    def detach(self) -> None:
        """Lets go of all that belongs to the running generation, which has ended."""
        head = self._head()
        self._head, self._on_cancel = lambda: head, _ignore

    def close(self) -> None:
        """Lets go of the same, and of what a claim would need."""
        self._head, self._on_cancel = _forgotten, _ignore

    async def confirm(self) -> None:
        """Appends what the store may have lost of a log that has ended.

        Raises LogMoved, LogLost, StoreUnavailable.
        """
        last = self._buffer.last_sequence
        await self.append(self._kept(last - 1, last + 1), retry=True)

    async def retain(self, ttl: float) -> None:
        """Keeps the log for `ttl` seconds from now; with 0, deletes it. A failure is only logged."""
        if self.epoch:
            await self._patience.quietly(lambda: self._sink.retain(self._key, self.epoch, ttl))

    async def _claim(self, *, retry: bool) -> None:
        """Claims the log. Raises LogMoved if there is another one."""
        call = self._patience.retry if retry else self._patience.once
        incarnation = self._buffer.incarnation
        claim = await call(lambda: self._sink.claim(self._key, self._fingerprint, self._head(), incarnation))
        if not claim.owned:
            raise LogMoved(MOVED)
        self.epoch = claim.epoch

    def _kept(self, after: int, until: int) -> Sequence[Record]:
        try:
            records = self._buffer.records(after, _REPAIR_BYTES)
        except ReplayExpired:
            raise LogLost("the event log lost events that this server no longer keeps: start again") from None
        return [record for record in records if record.sequence < until]


def _forgotten() -> bytes:
    raise LogLost("the event log was lost after the end of its generation")


def _ignore() -> None:
    """Does nothing: the generation has ended."""
