"""Windows of requests and tokens in Redis, which all replicas share."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from limits.aio.storage import RedisClusterStorage, RedisSentinelStorage, RedisStorage
from redis.exceptions import RedisError, ResponseError

from tokengrpc.core.ports.log import LogRefused
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis import servers
from tokengrpc.stores.redis.servers.address import Layout
from tokengrpc.stores.redis.servers.pipe import FOREIGN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.stores.redis.servers.address import StoreAddress
    from tokengrpc.stores.redis.servers.topology import Access

_STORAGES = {
    Layout.SINGLE: ("redis", RedisStorage),
    Layout.SENTINEL: ("redis+sentinel", RedisSentinelStorage),
    Layout.CLUSTER: ("redis+cluster", RedisClusterStorage),
}


class RedisWindows:
    """Windows of one database. Requests are those of the library `limits`, tokens are sums by second.

    Every call may raise StoreUnavailable.
    """

    def __init__(self, address: StoreAddress, access: Access, prefix: str, seconds: int) -> None:
        """Takes the address and how to connect to it, the beginning of keys, and the length of windows."""
        self._seconds = seconds
        scheme, storage = _STORAGES[address.layout]
        path = "" if address.layout is Layout.CLUSTER else address.service or address.database
        options: dict[str, Any] = {
            "socket_timeout": access.timeout,
            "socket_connect_timeout": access.timeout,
            **{name: value for name, value in access.credentials.items() if value},
            **({"ssl": True, **access.tls} if address.tls else {}),
        }
        if address.layout is Layout.SENTINEL:
            options["sentinel_kwargs"] = {k: v for k, v in access.sentinel_credentials.items() if v}
        elif address.tls and address.layout is Layout.SINGLE:
            scheme = "rediss"
            del options["ssl"]
        self._storage: RedisStorage = storage(
            f"async+{scheme}://{','.join(map(str, address.hosts))}/{path}",
            implementation="redispy",
            key_prefix=f"{prefix}:rates",
            **options,
        )
        self._client: Any = self._storage.bridge.get_connection()
        self._take = self._script("take_tokens")
        self._correct = self._script("correct_tokens")
        self._prefix = prefix

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Adds a request to a window, unless it is full."""
        with _translated():
            return await self._storage.acquire_entry(_hashed(key), limit, expiry, amount)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Returns the time of the oldest request in a window, and the number of requests."""
        with _translated():
            return await self._storage.get_moving_window(_hashed(key), limit, expiry)

    async def take(self, key: str, limit: int, amount: int) -> tuple[float, int]:
        """Counts tokens. Returns the seconds until they fit, 0 if they were counted, and their second."""
        with _translated():
            wait, second = await self._take(keys=[self._key(key)], args=[self._seconds, limit, amount])
        return float(wait), int(second)

    async def correct(self, key: str, second: int, change: int) -> None:
        """Adds to what was counted in a second, or returns a part of it."""
        with _translated():
            await self._correct(keys=[self._key(key)], args=[second, change])

    async def close(self) -> None:
        """Disconnects."""
        with _translated():
            await self._client.aclose()

    def _script(self, name: str) -> Any:  # noqa: ANN401 - the client's own type has no annotations
        return self._client.register_script((files(servers) / "lua" / f"{name}.lua").read_text())

    def _key(self, key: str) -> str:
        return f"{self._prefix}:rates:{_hashed(key)}"


def _hashed(key: str) -> str:
    """Returns a key without names of tenants."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ResponseError as error:
        # Of one tenant's window, the store's other data can be used.
        foreign = str(error).startswith(FOREIGN)
        raise (_refused() if foreign else _away()) from error
    except (RedisError, OSError, TimeoutError) as error:
        raise _away() from error


def _away() -> StoreUnavailable:
    return StoreUnavailable("the store of rates does not answer: try again later")


def _refused() -> LogRefused:
    return LogRefused("the rates of this tenant have data of others in the store: ask an operator")
