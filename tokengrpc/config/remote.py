"""Settings of engines behind a URL, and of plugin engines without a settings struct of their own."""

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
    """Settings of an engine behind a URL."""

    base_url: Annotated[
        str, Meta(description="address of the engine, such as http://gpu1:8000/v1", extra=FLAG)
    ] = ""
    extra_capabilities: Annotated[
        tuple[Capability, ...], Meta(description="capabilities of the engine beyond those of its dialect")
    ] = ()
    api_key_env: Annotated[
        Variable, Meta(description="environment variable with the engine's API key", extra=FLAG)
    ] = ""
    api_key_file: Annotated[str, Meta(description="file with the engine's API key", extra=FLAG)] = ""

    trace_headers: Annotated[
        bool,
        Meta(description="whether requests to the engine carry the trace context (traceparent, tracestate)"),
    ] = True

    def __post_init__(self) -> None:
        """Checks the URL, and that there is at most one key."""
        super().__post_init__()
        if self.api_key_env and self.api_key_file:
            raise ConfigError("api_key_file: cannot be combined with api_key_env; remove one of them")
        if self.base_url:
            self._check_base_url()

    def _check_base_url(self) -> None:
        """Checks the URL. Kinds that support other addresses extend it."""
        check_url(self.base_url)

    @property
    def named_variables(self) -> frozenset[str]:
        """The variable with the engine's API key."""
        return frozenset({self.api_key_env} - {""})

    def read_api_key(self, environ: Mapping[str, str] = os.environ) -> str | None:
        """Reads the engine's API key; None if no key is configured.

        Raises ConfigError if the variable or file is missing or empty.
        """
        return read_secret(f"engine {self.name}: api_key", self.api_key_env, self.api_key_file, environ)


class PluginEngineSettings(RemoteEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a plugin engine without a settings struct of its own, which reads `options`."""

    options: Annotated[dict[str, Any], Meta(description="further settings of the kind")] = {}  # noqa: RUF012 - msgspec copies it


def check_url(url: str) -> None:
    """Rejects credentials and queries, so that the URL can be logged and a path appended to it."""
    allowed = "base_url: must be http://HOST/PATH or https://HOST/PATH, such as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        port_ok = parts.port != 0
    except ValueError:
        raise ConfigError(allowed) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_ok or url != url.strip():
        raise ConfigError(allowed)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"{allowed}; without user, password or query (for keys: api_key_env or api_key_file)"
        )
