"""Sinks on real servers of Redis and Valkey, as the server makes them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.records import KEY, log_records
from tokengrpc.config import LimitSettings, Settings
from tokengrpc.core.ports.log import AppendStatus
from tokengrpc.stores.redis.plugin import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.stores.redis.sink import RedisEventSink


def made(url: str, timeout: float = 5.0, **options: Any) -> RedisEventSink:
    """Makes a sink that is not started. Raises ConfigError."""
    settings = Settings(
        server_name="here", limits=LimitSettings(store_timeout=timeout), plugins={"redis": options}
    )
    return create(url, {}, settings)


@asynccontextmanager
async def started(url: str, timeout: float = 5.0, **options: Any) -> AsyncIterator[RedisEventSink]:
    """Runs a sink for the block."""
    sink = made(url, timeout, **options)
    try:
        await sink.start()
        yield sink
    finally:
        await sink.close()


async def claimed(sink: RedisEventSink, last: int = 0, key: GenerationKey = KEY) -> int:
    """Claims a log, and appends records up to a sequence; the epoch. May be repeated."""
    claim = await sink.claim(key, b"same", b"the request", "log")
    assert claim.owned
    if last:
        outcome = await sink.append(key, claim.epoch, log_records(1, last))
        assert (outcome.status in (AppendStatus.OK, AppendStatus.REPEATED), outcome.last) == (True, last)
    return claim.epoch
