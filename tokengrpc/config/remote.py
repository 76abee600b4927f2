"""What can be set of engines behind a URL, and of installed engines that bring no settings struct."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta

from tokengrpc.config.engine import EngineSettings
from tokengrpc.config.values import FLAG, ConfigError, Variable, read_secret
from tokengrpc.core.model import Capability

if TYPE_CHECKING:
    from collections.abc import Mapping


class RemoteEngineSettings(EngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine behind a URL."""

    base_url: Annotated[
        str, Meta(description="where the engine is, such as http://127.0.0.1:8000/v1", extra=FLAG)
    ] = ""
    extra_capabilities: Annotated[
        tuple[Capability, ...], Meta(description="what the engine can do beyond its dialect")
    ] = ()
    api_key_env: Annotated[
        Variable, Meta(description="the variable that holds the engine's key", extra=FLAG)
    ] = ""
    api_key_file: Annotated[str, Meta(description="the file that holds the engine's key", extra=FLAG)] = ""

    def __post_init__(self) -> None:
        """Checks the URL, and that there is one key at most."""
        super().__post_init__()
        if self.api_key_env and self.api_key_file:
            raise ConfigError("api_key_file: not together with api_key_env; keep one of them")
        if self.base_url:
            _check_url(self.base_url)

    def read_api_key(self, environ: Mapping[str, str] = os.environ) -> str | None:
        """Returns the engine's key as it is now; None when no key is configured.

        Raises ConfigError when the variable or file is missing or empty.
        """
        return read_secret(f"engine {self.name}: api_key", self.api_key_env, self.api_key_file, environ)


class PluginEngineSettings(RemoteEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An installed engine that brings no settings struct: it reads what it needs from `options`."""

    options: Annotated[dict[str, Any], Meta(description="an engine's own settings, by its kind")] = {}  # noqa: RUF012 - msgspec copies it


def _check_url(url: str) -> None:
    """Refuses credentials and queries, so that a URL can be shown and a path be added to it."""
    allowed = "base_url: must be http://HOST/PATH or https://HOST/PATH, such as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        port_ok = parts.port != 0
    except ValueError:
        raise ConfigError(allowed) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_ok or url != url.strip():
        raise ConfigError(allowed)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"{allowed}; no user, password or query (keys: api_key_env or api_key_file)")
