"""Messages of cancels: each replica listens on a channel of its own."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import structlog

from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis.keys import decode_key
from tokengrpc.stores.redis.servers.pipe import BROKEN, hang_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.stores.redis.sealing import Sealer
    from tokengrpc.stores.redis.servers.topology import Topology

PLACE = b"cancel"

log = structlog.get_logger(__name__)


async def listen(
    topology: Topology, channel: str, sealer: Sealer, backoff: Callable[[], Iterator[float]]
) -> AsyncGenerator[GenerationKey, None]:
    """Yields the keys that are published. Connects again when the connection breaks; never ends by itself.

    Messages of the time between are lost.
    """
    delays, failing = backoff(), False
    while True:
        try:
            connection = await topology.connect(topology.hosts()[0], "cancels")
        except (*BROKEN, TimeoutError):
            await topology.refresh()
            await asyncio.sleep(next(delays))
            continue
        try:
            await connection.send_command("SUBSCRIBE", channel)
            while True:
                kind, _, data = await connection.read_response(timeout=math.inf)
                delays, failing = backoff(), False
                if kind == b"message" and (key := _read(sealer, channel, data)) is not None:
                    yield key
        except BROKEN as error:
            if not failing:
                failing = True
                log.warning("cancels of other servers arrive late", cause=str(error)[:200])
            await asyncio.sleep(next(delays))
        finally:
            await hang_up(connection)


def _read(sealer: Sealer, channel: str, data: bytes) -> GenerationKey | None:
    """Returns the key in a message; None if others than the replicas have published it."""
    try:
        return decode_key(sealer.open(channel, PLACE, data))
    except (StoreUnavailable, ValueError):
        return None
