"""Billing: owns every usage record until the ledger has it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.ports.ledger import LedgerUnusable, RecordRefused, RecordState, SpilledCall
from tokengrpc.core.ports.observer import StoreStateChanged
from tokengrpc.core.ports.usage_reader import UsageReader
from tokengrpc.errors import StoreUnavailable, TokenGrpcError
from tokengrpc.generations.kept_calls import KeptCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tokengrpc.core.model import Usage, UsageReport
    from tokengrpc.core.ports.ledger import Spill, UsageLedger, UsageRecord
    from tokengrpc.generations.observers import Observers
    from tokengrpc.generations.patience import StorePatience

_UNAVAILABLE = "the usage ledger is unavailable: try again later"
_BATCH = 256
"""Most kept calls that are made at the same time. A ledger may write them in one transaction."""

log = structlog.get_logger(__name__)


class Billing:
    """Writes usage records to the ledger. Keeps failed calls and repeats them later.

    A caller sees the end of its generation only after `finish` has returned: by then the record is in the
    ledger or in the spill. So no caller loses its answer because the ledger is unavailable. While the ledger
    is unavailable, new generations are rejected with STORE_UNAVAILABLE if `strict`, and served otherwise.

    The kept calls of a record are made in order, so that its `settle` never overtakes its `finish`. A call
    that the ledger refuses stays in the spill, and delays no other.
    """

    def __init__(
        self,
        ledger: UsageLedger,
        spill: Spill,
        *,
        strict: bool,
        patience: StorePatience,
        observers: Observers,
        checkpoint_interval: float = 0.0,
    ) -> None:
        """Takes the stores; `checkpoint_interval` is in seconds, and 0 means no checkpoints."""
        self._ledger = ledger
        self._kept = KeptCalls(spill)
        self._strict = strict
        self._patience = patience
        self._observers = observers
        self._checkpoint_interval = checkpoint_interval
        self._started = False
        self._available = True
        self._closed = False
        self._recovery: asyncio.Task[None] | None = None
        self._checkpoints: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Number of ledger calls that are still to be made."""
        return len(self._kept)

    @property
    def available(self) -> bool:
        """Whether the last call of the ledger succeeded."""
        return self._available

    async def start(self) -> None:
        """Starts the ledger, and begins to make the calls that an earlier process left in the spill.

        If the ledger is unavailable, raises StoreUnavailable if `strict`; otherwise keeps trying. Also raises
        LedgerUnusable, and StoreUnavailable if the spill cannot be used.
        """
        away = None
        try:
            await self._start_ledger()
        except StoreUnavailable as error:
            if self._strict or isinstance(error, LedgerUnusable):
                raise
            away = error
        await self._kept.load()
        if away is not None:
            self._failed(away)
        elif self._kept:
            self._recover()

    async def close(self) -> None:
        """Stops all tasks and closes the ledger. Takes a bounded time even if the ledger hangs."""
        self._closed = True
        for task in (self._recovery, self._checkpoints):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        while self._kept and self._available and await self._write_some():
            pass
        with suppress(TokenGrpcError):
            await self._patience.once(self._ledger.close)
        self._kept.close()

    def watch(self, running: Callable[[], Mapping[str, Usage]]) -> None:
        """Begins to write checkpoints; `running` returns the usage of running generations by record id."""
        if self._ledger.durable and self._checkpoint_interval:
            loop = asyncio.get_running_loop()
            self._checkpoints = loop.create_task(self._write_checkpoints(running))

    def check_available(self) -> None:
        """Raises StoreUnavailable if no generation may start now."""
        if self._strict and not self._available:
            raise StoreUnavailable(_UNAVAILABLE)

    async def begin(self, record: UsageRecord) -> None:
        """Records that an engine has accepted a generation. Raises StoreUnavailable if `strict`.

        Otherwise, the record is in the ledger or in the spill when this returns.
        """
        if self._strict:
            await self._call(lambda: self._ledger.begin(record))
        else:
            await self._write(SpilledCall(record_id=record.record_id, begin=record))

    async def adopt(self, record: UsageRecord) -> None:
        """Records that this server goes on with a generation that an engine of another server accepted.

        The record is in the ledger or in the spill when this returns: the generation runs already.
        """
        await self._write(SpilledCall(record_id=record.record_id, begin=record))

    async def closed(self, record: UsageRecord) -> UsageRecord | None:
        """Returns this record if the ledger has closed it already; None also if it cannot be asked."""
        ledger = self._ledger
        if isinstance(ledger, UsageReader):
            with suppress(TokenGrpcError):
                found = await self._patience.once(lambda: ledger.find(record.tenant, record.generation_id))
                if found and found.record_id == record.record_id and found.state is RecordState.CLOSED:
                    return found
        return None

    async def finish(self, record: UsageRecord) -> None:
        """Records the final usage. When this returns, the record is in the ledger or in the spill."""
        await self._write(SpilledCall(record_id=record.record_id, finish=record))

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """Records the usage that an engine reported after the end."""
        await self._write(SpilledCall(record_id=record_id, settle=usage))

    async def _write(self, call: SpilledCall) -> None:
        if self._available and not self._kept:
            with suppress(StoreUnavailable):
                await self._make(call)
                return
        self._kept.append(call)
        self._recover()
        await self._kept.save()

    async def _make(self, call: SpilledCall) -> None:
        """Makes a call. Raises StoreUnavailable if it is to be repeated."""
        try:
            await self._call(lambda: self._pass_on(call))
        except RecordRefused as error:
            await self._kept.refuse(call, error)

    async def _pass_on(self, call: SpilledCall) -> None:
        if call.begin is not None:
            await self._ledger.begin(call.begin)
        if call.finish is not None:
            await self._ledger.finish(call.finish)
        if call.settle is not None:
            await self._ledger.settle(call.record_id, call.settle)

    async def _call(self, make: Callable[[], Awaitable[None]]) -> None:
        """Calls the ledger once. Raises StoreUnavailable for any failure, RecordRefused as it is."""
        try:
            await self._patience.once(make)
        except RecordRefused:
            raise
        except TokenGrpcError as error:
            self._failed(error)
            # The cause is for the log: it may have the database's address.
            raise StoreUnavailable(_UNAVAILABLE) from error
        self._set_available(available=True)

    def _failed(self, error: TokenGrpcError) -> None:
        if self._available:
            log.warning("the usage ledger is unavailable", cause=error.message)
        self._set_available(available=False)
        self._recover()

    async def _start_ledger(self) -> None:
        await self._ledger.start()
        self._started = True

    def _set_available(self, *, available: bool) -> None:
        if available is not self._available:
            self._available = available
            self._observers.emit(StoreStateChanged(store="ledger", available=available))

    def _recover(self) -> None:
        if self._recovery is None and not self._closed:
            self._recovery = asyncio.get_running_loop().create_task(self._write_waiting())

    async def _write_waiting(self) -> None:
        """Repeats attempts until the ledger is available and all kept calls have been made."""
        try:
            await self._start_late()
            delays = self._patience.delays()
            while self._kept or not self._available:
                if await self._write_some():
                    delays = self._patience.delays()
                else:
                    await asyncio.sleep(next(delays))
                if not self._kept:
                    await self._kept.clear()
        finally:
            self._recovery = None

    async def _start_late(self) -> None:
        """Starts a ledger that was unavailable when the server started, however long that takes."""
        told = ""
        for delay in self._patience.delays():
            if self._started:
                return
            await asyncio.sleep(delay)
            try:
                await self._start_ledger()
            except LedgerUnusable as error:
                if error.message != told:
                    log.error("the usage ledger cannot be used", cause=error.message)  # noqa: TRY400 - one line says it
                told = error.message
            except StoreUnavailable:
                continue
            except Exception:
                log.exception("unexpected error while starting the usage ledger")

    async def _write_some(self) -> bool:
        """Makes the oldest kept calls; if there is none, probes whether the ledger is available."""
        if not self._kept:
            with suppress(StoreUnavailable):
                await self._call(lambda: self._ledger.checkpoint({}))
                return True
            return False
        calls = self._kept.first(_BATCH if self._available else 1)
        outcomes = await asyncio.gather(*map(self._make, calls), return_exceptions=True)
        failed = [isinstance(outcome, BaseException) for outcome in outcomes]
        self._kept.remove(failed.index(True) if True in failed else len(calls))
        return True not in failed

    async def _write_checkpoints(self, running: Callable[[], Mapping[str, Usage]]) -> None:
        while True:
            await asyncio.sleep(self._checkpoint_interval)
            usages = running()
            if usages and self._available:
                with suppress(StoreUnavailable):
                    await self._call(lambda: self._ledger.checkpoint(usages))  # noqa: B023 - awaited here
