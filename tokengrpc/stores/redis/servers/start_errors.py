"""What the operator is told, in one line, when a store cannot be used at start."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from tokengrpc.config import ConfigError
from tokengrpc.errors import StoreUnavailable

REPLICA = "the event store is a replica, which takes no writes: name its primary in `store`"


def start_error(error: Exception, timeout: float) -> ConfigError | StoreUnavailable:
    """Returns the error for one of redis-py, the system or a timeout, which is in seconds."""
    words = str(error).partition("\n")[0][:200].rstrip(". ") or f"no answer within {timeout:g} s"
    match error:
        case AuthenticationError():
            return ConfigError(
                "store: the event store refuses the user or the password: see plugins.redis.password_file"
            )
        case NoPermissionError():
            return ConfigError(
                f"store: the event store's user lacks a permission: {words}: see Access in docs/scaling.md"
            )
        case ReadOnlyError():
            return StoreUnavailable(REPLICA)
        case OutOfMemoryError():
            return StoreUnavailable("the event store is full: raise its maxmemory")
        case ResponseError():
            return StoreUnavailable(
                f"the event store refuses the server: {words}: check the address in `store`"
            )
        case _:
            return StoreUnavailable(
                f"the event store cannot be reached: {words}: start it, or check the address in `store`, with"
                " rediss:// if it has TLS and redis:// if it has none"
            )
