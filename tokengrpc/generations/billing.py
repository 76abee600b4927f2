"""Billing: owns every usage record until the ledger has it."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.ports.ledger import SpilledCall
from tokengrpc.core.ports.observer import StoreStateChanged
from tokengrpc.errors import StoreUnavailable, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tokengrpc.core.model import Usage, UsageReport
    from tokengrpc.core.ports.ledger import Spill, UsageLedger, UsageRecord
    from tokengrpc.generations.observers import Observers
    from tokengrpc.generations.patience import StorePatience

log = structlog.get_logger(__name__)


class Billing:
    """Writes usage records to the ledger. Keeps failed calls and repeats them later.

    A caller sees the end of its generation only after `finish` has returned: by then the record is in the
    ledger or in the spill. So no caller loses its answer because the ledger is unavailable. While the ledger
    is unavailable, new generations are rejected with STORE_UNAVAILABLE if `strict`, and served otherwise.

    Kept calls are made in order, so that a record's `settle` never overtakes its `finish`.
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
        self._spill = spill
        self._strict = strict
        self._patience = patience
        self._observers = observers
        self._checkpoint_interval = checkpoint_interval
        self._waiting: deque[SpilledCall] = deque()
        self._available = True
        self._spilling = asyncio.Lock()
        self._recovery: asyncio.Task[None] | None = None
        self._checkpoints: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Number of ledger calls that are still to be made."""
        return len(self._waiting)

    async def start(self) -> None:
        """Starts the ledger, and begins to make the calls that an earlier process left in the spill."""
        await self._ledger.start()
        spilled = await self._spill.load()
        if spilled:
            log.warning("writing usage records that an earlier process could not write", count=len(spilled))
            self._waiting.extend(spilled)
            self._recover()

    async def close(self) -> None:
        """Stops all tasks and closes the ledger. Takes a bounded time even if the ledger hangs."""
        for task in (self._recovery, self._checkpoints):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        while self._waiting and self._available:
            await self._write_next()
        if self._waiting:
            log.error("usage records remain unwritten; the spill keeps them", count=len(self._waiting))
        with suppress(TokenGrpcError):
            await self._patience.once(self._ledger.close)

    def watch(self, running: Callable[[], Mapping[str, Usage]]) -> None:
        """Begins to write checkpoints; `running` returns the usage of running generations by record id."""
        if self._ledger.durable and self._checkpoint_interval:
            loop = asyncio.get_running_loop()
            self._checkpoints = loop.create_task(self._write_checkpoints(running))

    def check_available(self) -> None:
        """Raises StoreUnavailable if no generation may start now."""
        if self._strict and not self._available:
            raise StoreUnavailable("the usage ledger is unavailable: try again later")

    async def begin(self, record: UsageRecord) -> None:
        """Records that an engine has accepted a generation. Raises StoreUnavailable if `strict`."""
        if self._available or self._strict:
            try:
                await self._call(lambda: self._ledger.begin(record))
            except StoreUnavailable:
                if self._strict:
                    raise

    async def finish(self, record: UsageRecord) -> None:
        """Records the final usage. When this returns, the record is in the ledger or in the spill."""
        await self._write(SpilledCall(record_id=record.record_id, finish=record))

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """Records the usage that an engine reported after the end."""
        await self._write(SpilledCall(record_id=record_id, settle=usage))

    async def _write(self, call: SpilledCall) -> None:
        if self._available and not self._waiting:
            with suppress(StoreUnavailable):
                await self._call(lambda: self._make(call))
                return
        self._waiting.append(call)
        self._recover()
        async with self._spilling:
            if call in self._waiting:
                try:
                    await self._spill.add(call)
                except StoreUnavailable as error:
                    log.error("a usage record is kept in memory only", cause=error.message)  # noqa: TRY400 - the cause is known

    async def _make(self, call: SpilledCall) -> None:
        if call.finish is not None:
            await self._ledger.finish(call.finish)
        if call.settle is not None:
            await self._ledger.settle(call.record_id, call.settle)

    async def _call(self, make: Callable[[], Awaitable[None]]) -> None:
        """Calls the ledger once. Raises StoreUnavailable for any failure."""
        try:
            await self._patience.once(make)
        except TokenGrpcError as error:
            self._set_available(available=False)
            self._recover()
            raise StoreUnavailable(error.message) from error
        self._set_available(available=True)

    def _set_available(self, *, available: bool) -> None:
        if available is not self._available:
            self._available = available
            self._observers.emit(StoreStateChanged(store="ledger", available=available))

    def _recover(self) -> None:
        if self._recovery is None:
            self._recovery = asyncio.get_running_loop().create_task(self._write_waiting())

    async def _write_waiting(self) -> None:
        """Repeats attempts until the ledger is available and all kept calls have been made."""
        try:
            delays = self._patience.delays()
            while self._waiting or not self._available:
                if await self._write_next():
                    delays = self._patience.delays()
                else:
                    await asyncio.sleep(next(delays))
                async with self._spilling:
                    if not self._waiting:
                        await self._spill.clear()
        finally:
            self._recovery = None

    async def _write_next(self) -> bool:
        """Makes the oldest kept call; if there is none, probes whether the ledger is available."""
        call = self._waiting[0] if self._waiting else None
        try:
            await self._call(lambda: self._ledger.checkpoint({}) if call is None else self._make(call))
        except StoreUnavailable:
            return False
        if call is not None:
            self._waiting.popleft()
        return True

    async def _write_checkpoints(self, running: Callable[[], Mapping[str, Usage]]) -> None:
        while True:
            await asyncio.sleep(self._checkpoint_interval)
            usages = running()
            if usages and self._available:
                with suppress(StoreUnavailable):
                    await self._call(lambda: self._ledger.checkpoint(usages))  # noqa: B023 - awaited here
