"""Reads of the usage ledger for callers: a few at a time, within a time limit, converted on a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import structlog

from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.usage_reader import UsageReader
    from tokengrpc.generations.patience import StorePatience

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger(__name__)

_MAX_CONCURRENT = 2
"""Reads at once: each takes a thread and a connection, and the writer needs one of both at any time."""


class UsageReads:
    """Reads of a ledger. `call_timeout` of the patience also bounds the wait for a turn."""

    def __init__(self, reader: UsageReader, patience: StorePatience) -> None:
        self._reader = reader
        self._patience = patience
        self._turns = asyncio.Semaphore(_MAX_CONCURRENT)

    async def find(self, tenant: str, generation_id: str) -> UsageRecord | None:
        """Returns the record of a generation; None if there is none. Raises StoreUnavailable."""
        return await self._in_turn(lambda: self._reader.find(tenant, generation_id))

    async def read(self, read: Callable[[UsageReader], Awaitable[T]], convert: Callable[[T], R]) -> R:
        """Reads, and returns what `convert` makes of it. Raises StoreUnavailable, and what `convert` raises.

        A page of 1,000 records takes tens of milliseconds to convert, so a thread does it.
        """

        async def one() -> R:
            return await asyncio.to_thread(convert, await read(self._reader))

        return await self._in_turn(one)

    async def _in_turn(self, one: Callable[[], Awaitable[R]]) -> R:
        async def turn() -> R:
            async with self._turns:
                return await one()

        try:
            return await self._patience.once(turn)
        except StoreUnavailable as error:
            log.warning("usage could not be read", cause=error.message)
            # The cause is for the log: it may have the database's address.
            raise StoreUnavailable("the usage ledger could not be read: try again later") from error
