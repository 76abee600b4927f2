"""Ledger calls that have not succeeded yet: a queue in memory, and its copy in the spill."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from tokengrpc.core.model import Usage
from tokengrpc.core.ports.ledger import SpilledCall
from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokengrpc.core.ports.ledger import RecordRefused, Spill

log = structlog.get_logger(__name__)


class KeptCalls:
    """Queue of calls. A call is in the queue at once, and durable after `save`.

    A call that the ledger refuses leaves the queue and stays in the spill, for whoever mends the ledger.
    """

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._queue: deque[SpilledCall] = deque()
        self._removed = 0
        self._unsaved: list[tuple[int, SpilledCall]] = []
        self._saving = asyncio.Lock()
        self._any_refused = False

    def __len__(self) -> int:
        return len(self._queue)

    async def load(self) -> None:
        """Takes over the calls that an earlier process left. Raises StoreUnavailable."""
        calls = await self._spill.load()
        if calls:
            log.warning("writing usage records that an earlier process could not write", count=len(calls))
            self._queue.extend(_closed(calls))

    def append(self, call: SpilledCall) -> None:
        """Adds a call to the queue."""
        self._unsaved.append((self._removed + len(self._queue), call))
        self._queue.append(call)

    async def save(self) -> None:
        """Saves the calls that are still in the queue, many at a time.

        If that fails, they are kept in memory only, and saved with the next ones.
        """
        async with self._saving:
            unsaved = [(position, call) for position, call in self._unsaved if position >= self._removed]
            self._unsaved = []
            if unsaved and not await self._add([call for _, call in unsaved]):
                self._unsaved = unsaved + self._unsaved

    def first(self, limit: int) -> Sequence[SpilledCall]:
        """Returns the first calls, which are of different records, so that they may be made in any order."""
        chosen: dict[str, SpilledCall] = {}
        for call in self._queue:
            if call.record_id in chosen or len(chosen) == limit:
                break
            chosen[call.record_id] = call
        return list(chosen.values())

    def remove(self, count: int) -> None:
        """Removes the first calls, which have been made."""
        for _ in range(count):
            self._queue.popleft()
        self._removed += count

    async def refuse(self, call: SpilledCall, error: RecordRefused) -> None:
        """Saves a call that the ledger refused."""
        log.error("the usage ledger refuses a record", record_id=call.record_id, cause=error.message)
        self._any_refused = True
        async with self._saving:
            await self._add([call])

    async def clear(self) -> None:
        """Clears the spill if all calls have been made."""
        async with self._saving:
            if self._queue or self._any_refused:
                return
            try:
                await self._spill.clear()
            except StoreUnavailable as error:
                # The calls will be repeated at the next start, which changes nothing.
                log.warning("written usage records remain in the spill", cause=error.message)

    def close(self) -> None:
        """Closes the spill. Calls that could not be saved are logged, without what callers sent."""
        unsaved = [call for position, call in self._unsaved if position >= self._removed]
        if len(self._queue) > len(unsaved):
            log.error(
                "usage records remain unwritten; the spill keeps them", count=len(self._queue) - len(unsaved)
            )
        for call in unsaved:
            record = call.finish or call.begin
            log.error(
                "a usage record is lost, because neither the ledger nor the spill could be written",
                record_id=call.record_id,
                generation_id=record.generation_id if record else "",
                tenant=record.tenant if record else "",
                usage=structs.asdict(record.usage if record else call.settle or Usage()),
            )
        self._spill.close()

    async def _add(self, calls: Sequence[SpilledCall]) -> bool:
        try:
            await self._spill.add(calls)
        except StoreUnavailable as error:
            log.error("usage records are kept in memory only", count=len(calls), cause=error.message)  # noqa: TRY400 - the cause is known
            return False
        return True


def _closed(calls: Sequence[SpilledCall]) -> Iterable[SpilledCall]:
    """Returns the calls of a process that has died. Its generations that had not ended are lost."""
    finished = {call.record_id for call in calls if call.finish is not None}
    for call in calls:
        record = call.begin
        if record is None:
            yield call
        elif call.record_id not in finished:
            yield SpilledCall(record_id=call.record_id, finish=record.as_lost(record.create_time_ns))
