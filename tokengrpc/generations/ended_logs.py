"""Logs of generations that ended a moment ago here, whose end a failover of the store may have lost."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from tokengrpc.generations.owned_log import OwnedLog

_SECONDS = 10.0
"""How long a log is remembered: longer than a replica lags that a store promotes."""

_AT_ONCE = 64


class _Ended(NamedTuple):
    time: float
    log: OwnedLog
    ttl: float


class EndedLogs:
    """The logs that ended here within the last seconds."""

    def __init__(self) -> None:
        self._logs: deque[_Ended] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, log: OwnedLog, ttl: float) -> None:
        """Remembers a log, which is kept for `ttl` seconds."""
        log.close()
        loop = asyncio.get_running_loop()
        self._logs.append(_Ended(loop.time(), log, ttl))
        if self._timer is None:
            self._timer = loop.call_later(_SECONDS, self._forget)

    async def confirm(self) -> None:
        """Writes the ends again that the store has lost. Called when it is back."""
        logs = list(self._logs)
        for begin in range(0, len(logs), _AT_ONCE):
            await asyncio.gather(*map(_confirm, logs[begin : begin + _AT_ONCE]))

    def _forget(self) -> None:
        loop = asyncio.get_running_loop()
        while self._logs and self._logs[0].time <= loop.time() - _SECONDS:
            self._logs.popleft()
        self._timer = loop.call_at(self._logs[0].time + _SECONDS, self._forget) if self._logs else None


async def _confirm(ended: _Ended) -> None:
    with suppress(StoreUnavailable):  # another server owns it, or the store is away again
        await ended.log.confirm()
        await ended.log.retain(ended.ttl)
