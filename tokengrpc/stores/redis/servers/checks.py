"""Checks at start: whether the store is new enough, and keeps what its settings promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import ResponseError

from tokengrpc.config import ConfigError
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis.servers.start_errors import REPLICA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio.connection import AbstractConnection

    from tokengrpc.stores.redis.options import RedisOptions

log = structlog.get_logger(__name__)

_LEAST = {"valkey": 8, "redis": 7}
"""Oldest major versions."""


async def check_server(connection: AbstractConnection, options: RedisOptions) -> None:
    """Checks a primary.

    Raises ConfigError if its settings do not allow the chosen durability, StoreUnavailable if it has too few
    replicas now. Warns of what cannot be checked.
    """
    info = _info(await _ask(connection, "INFO"))
    _check_version(info)
    if info.get("role") == "slave":
        raise StoreUnavailable(REPLICA)
    if options.durability == "replicated":
        _check_replicas(info, options.replicas)
    else:
        await _check_fsync(connection, info)
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith(("allkeys", "volatile")):
        log.warning(
            "the event store may evict event logs: set maxmemory-policy to noeviction",
            policy=policy,
        )


async def check_access(connection: AbstractConnection, key: str, channel: str) -> None:
    """Makes each kind of call that the server needs, on a key and a channel. Raises ResponseError."""
    await _ask(connection, "SET", key, "", "PX", "60000")
    await _ask(connection, "GET", key)
    await _ask(connection, "TIME")
    await _ask(connection, "WAIT", "0", "1")
    await _ask(connection, "PUBLISH", channel, "")


def _check_version(info: Mapping[str, str]) -> None:
    product = "valkey" if "valkey_version" in info else "redis"
    version = info.get(f"{product}_version", "0")
    if int(version.split(".")[0]) < _LEAST[product]:
        raise ConfigError(
            f"store: {product.capitalize()} {version} is too old: Redis 7 or Valkey 8 is needed at least"
        )


def _check_replicas(info: Mapping[str, str], needed: int) -> None:
    connected = int(info.get("connected_slaves", 0))
    if connected < needed:
        raise StoreUnavailable(
            f"the event store has {connected} of the {needed} replicas that durability `replicated` needs:"
            " connect them, or set plugins.redis.durability to `fsynced`"
        )


async def _check_fsync(connection: AbstractConnection, info: Mapping[str, str]) -> None:
    if info.get("aof_enabled") == "0":
        raise ConfigError(
            "plugins.redis.durability: `fsynced` needs appendonly yes and appendfsync always in the event"
            " store's settings, and appendonly is no"
        )
    try:
        reply = await _ask(connection, "CONFIG", "GET", "appendfsync")
    except ResponseError:
        log.warning("appendfsync of the event store cannot be read: make sure that it is `always`")
        return
    policy = reply[1].decode() if reply else "unknown"
    if policy != "always":
        raise ConfigError(
            f"plugins.redis.durability: `fsynced` needs appendfsync always in the event store's settings, and"
            f" it is {policy}"
        )


async def _ask(connection: AbstractConnection, *command: str) -> Any:  # noqa: ANN401 - replies have any type
    await connection.send_command(*command)
    return await connection.read_response()


def _info(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in reply.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in lines}
