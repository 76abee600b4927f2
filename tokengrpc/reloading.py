"""Settings that a running server takes without dropping a stream: keys, tenants, prices, the log level."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from tokengrpc.config import ConfigError
from tokengrpc.core.ports.auth import ReloadsKeys
from tokengrpc.core.ports.engine import RereadsSecrets
from tokengrpc.telemetry.logs import set_log_level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokengrpc.config import Settings
    from tokengrpc.server import Server

RELOADED = frozenset({"log_level", "prices", "tenants"})
"""Settings that are reloaded. In addition, engines read the keys of the settings that they started with."""

log = structlog.get_logger(__name__)


async def reload(server: Server, read: Callable[[], Settings]) -> None:
    """Reads the settings again, and applies those that can be. Running calls keep what they began with.

    Logs what was applied, what needs a restart, and what is wrong. Each part that is wrong stays as it was.
    """
    try:
        settings = await asyncio.to_thread(read)
    except ConfigError as error:
        log.error("the settings are not reloaded: they are wrong", error=str(error))  # noqa: TRY400 - one line
        return
    set_log_level(settings.log_level)
    reloaded = ["log_level", *(name for name, apply in _parts(server, settings) if _tried(name, apply))]
    log.info("reloaded", settings=", ".join(reloaded))
    if changed := _changed(server.settings, settings):
        log.warning("these settings have changed, and need a restart", settings=", ".join(changed))


def _parts(server: Server, settings: Settings) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yields the name of each part that can be wrong, and what applies it."""
    yield "prices", partial(server.use_prices, settings)
    yield "tenants", partial(_reload_tenants, server, settings)
    for model in server.catalog.all() if server.catalog is not None else ():
        for engine in model.engines:
            if isinstance(engine, RereadsSecrets):
                yield f"keys of {model.name}/{engine.name}", engine.reread_secrets


def _reload_tenants(server: Server, settings: Settings) -> None:
    """Applies tenants and their keys: both, or if a key is wrong, neither."""
    server.tenants.check(settings)
    if isinstance(server.authenticator, ReloadsKeys):
        server.authenticator.reload(settings)
    server.tenants.reload(settings)


def _tried(part: str, apply: Callable[[], None]) -> bool:
    """Applies a part of the settings. Returns whether that worked; otherwise logs why not."""
    try:
        apply()
    except ConfigError as error:
        log.error("a part of the settings is not reloaded", part=part, error=str(error))  # noqa: TRY400 - one line
        return False
    return True


def _changed(old: Settings, new: Settings) -> list[str]:
    """Returns the names of changed settings that are not reloaded."""
    return [
        name
        for name in old.__struct_fields__
        if name not in RELOADED and getattr(old, name) != getattr(new, name)
    ]
