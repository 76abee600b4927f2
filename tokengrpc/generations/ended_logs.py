"""Logs of generations that ended a moment ago here, whose end a failover of the store may have lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from tokengrpc.generations.owned_log import OwnedLog

_SECONDS = 10.0
"""How long a log is remembered: longer than a replica lags that a store promotes."""

_AT_ONCE = 64


class EndedLogs:
    """The logs that ended here within the last seconds, each with the seconds for which it is kept."""

    def __init__(self) -> None:
        self._logs: dict[OwnedLog, float] = {}

    def add(self, log: OwnedLog, ttl: float) -> None:
        """Remembers a log, which is kept for `ttl` seconds."""
        log.close()
        self._logs[log] = ttl
        asyncio.get_running_loop().call_later(min(_SECONDS, ttl), self._logs.pop, log, None)

    async def confirm(self) -> None:
        """Writes the ends again that the store has lost. Called when it is back."""
        logs = list(self._logs.items())
        for begin in range(0, len(logs), _AT_ONCE):
            await asyncio.gather(*(_confirm(log, ttl) for log, ttl in logs[begin : begin + _AT_ONCE]))


async def _confirm(log: OwnedLog, ttl: float) -> None:
    with suppress(StoreUnavailable):  # another server owns it, or the store is away again
        await log.confirm()
        await log.retain(ttl)
