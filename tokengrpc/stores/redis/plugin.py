"""The plugin: makes the store of a URL."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokengrpc.config import ConfigError
from tokengrpc.extras import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.config import Settings
    from tokengrpc.stores.redis.options import RedisOptions
    from tokengrpc.stores.redis.sink import RedisEventSink


def create(value: str, options: Mapping[str, Any], settings: Settings) -> RedisEventSink:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the event store of a URL.

    Its settings are the table `[plugins.redis]`, whatever the URL's scheme. Raises ConfigError.
    """
    try:
        require("redis", "a store in Redis or Valkey")
    except ImportError as error:
        raise ConfigError(f"store: {error}") from error
    from tokengrpc.stores.redis.options import (  # noqa: PLC0415 - needs an extra
        read_options,
        read_sealer,
        read_secret,
    )
    from tokengrpc.stores.redis.servers.address import read_address  # noqa: PLC0415 - needs an extra
    from tokengrpc.stores.redis.servers.topology import Access  # noqa: PLC0415 - needs an extra
    from tokengrpc.stores.redis.sink import RedisEventSink  # noqa: PLC0415 - needs an extra

    address = read_address(value)
    read = read_options(settings.plugins.get("redis", {}))
    password = read_secret("password_file", read.password_file) or address.password
    sentinel_password = read_secret("sentinel_password_file", read.sentinel_password_file)
    access = Access(
        # Names of processes never repeat, so an old process is never taken for the owner of a new log.
        replica=f"{settings.server_name or socket.gethostname()}-{secrets.token_hex(6)}",
        timeout=settings.limits.store_timeout,
        credentials=_credentials(read.user or address.user, password),
        sentinel_credentials=_credentials(read.sentinel_user, sentinel_password),
        tls=_tls(read, used=address.tls),
    )
    return RedisEventSink(address, read, access, read_sealer(read))


def _credentials(user: str, password: str) -> dict[str, Any]:
    return {"username": user or None, "password": password or None}


def _tls(options: RedisOptions, *, used: bool) -> dict[str, Any]:
    """Returns redis-py's arguments. Raises ConfigError if a file cannot be read, or is for nothing."""
    for setting in ("ca_file", "cert_file", "key_file"):
        path = getattr(options, setting)
        if path and not Path(path).is_file():
            raise ConfigError(f"plugins.redis.{setting}: {path}: there is no such file")
        if path and not used:
            raise ConfigError(
                f"plugins.redis.{setting}: the store's URL has no TLS: use rediss:// in `store`"
            )
    if not used:
        return {}
    return {
        "ssl_ca_certs": options.ca_file or None,
        "ssl_certfile": options.cert_file or None,
        "ssl_keyfile": options.key_file or None,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
    }
