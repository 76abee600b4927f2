"""What can be set of one engine, and the check of what no single field can tell."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from tokengrpc.config.faults import FaultSettings
from tokengrpc.config.values import (
    Bytes,
    ConfigError,
    CountOrNone,
    NameOrNone,
    Seconds,
    SecondsOrNone,
    Variable,
    read_secret,
)
from tokengrpc.core.model import Capability  # noqa: TC001 - msgspec reads annotations at run time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHIPPED_KINDS = frozenset({"anthropic", "builtin", "openai", "replay"})


@cache
def engine_kinds() -> tuple[str, ...]:
    """Names of all engines that are installed: entry points of the group `tokengrpc.engines`."""
    return tuple(sorted(SHIPPED_KINDS | entry_points(group="tokengrpc.engines").names))


def unknown_kind(kinds: Sequence[str]) -> str:
    """What is wrong with an engine that is none of these."""
    return f"no such engine is installed; installed are: {', '.join(kinds)}"


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine. Factories get it with `name`, `upstream_model` and `context_token_count` filled in."""

    what: ClassVar[str] = "engine"

    name: Annotated[NameOrNone, Meta(description="the name in events and logs; empty: the model's")] = ""
    kind: Annotated[
        str, Meta(description="the engine: builtin, openai, anthropic, replay or an installed one")
    ] = "builtin"
    base_url: Annotated[str, Meta(description="where the engine is, such as http://127.0.0.1:8000/v1")] = ""
    upstream_model: Annotated[
        str, Meta(description="the engine's name for the model; empty: the model's name")
    ] = ""
    api: Annotated[
        Literal["auto", "chat", "completions"],
        Meta(description="the engine's API; auto: chat for conversations, completions for prompts"),
    ] = "auto"
    dialect: Annotated[
        Literal["generic", "openai", "vllm", "sglang", "llamacpp", "ollama", "tgi", "litellm"],
        Meta(description="whose extensions the engine speaks"),
    ] = "generic"
    extra_capabilities: Annotated[
        tuple[Capability, ...], Meta(description="what the engine can do beyond its dialect")
    ] = ()
    missing_capabilities: Annotated[
        tuple[Capability, ...], Meta(description="what it or its model cannot do")
    ] = ()
    api_key_env: Annotated[Variable, Meta(description="the variable that holds the engine's key")] = ""
    api_key_file: Annotated[str, Meta(description="the file that holds the engine's key")] = ""
    context_token_count: Annotated[
        CountOrNone, Meta(description="input and output together; 0: the model's")
    ] = 0
    pace: Annotated[
        float, Meta(ge=0, le=1_000_000, description="tokens per second of a builtin engine; 0: no limit")
    ] = 0.0
    connect_timeout: Annotated[Seconds, Meta(description="the longest wait for a connection, s")] = 5.0
    weight: Annotated[
        float, Meta(gt=0, le=1_000, description="how much of the work it takes beside the model's others")
    ] = 1.0
    priority: Annotated[
        int, Meta(ge=0, le=100, description="lower ones are asked first, higher ones when those cannot")
    ] = 0
    max_connections: Annotated[
        CountOrNone, Meta(description="generations that it runs at once; 0: no limit")
    ] = 0
    health_check_interval: Annotated[
        SecondsOrNone, Meta(description="without traffic it is asked how it is every so often, s; 0: never")
    ] = 10.0
    on_cancel: Annotated[
        Literal["abort", "drain"],
        Meta(description="what becomes of output that nobody wants: abort, or drain to know its usage"),
    ] = "abort"
    drain_limit: Annotated[Seconds, Meta(description="a drain is given up after, s")] = 30.0
    max_event_bytes: Annotated[
        Bytes, Meta(description="the longest line or event that is read of an engine")
    ] = 1 << 20
    faults: Annotated[
        FaultSettings, Meta(description="what goes wrong with its calls, for tests: see docs/simulator.md")
    ] = FaultSettings()
    options: Annotated[dict[str, Any], Meta(description="an engine's own settings, by its kind")] = {}

    def __post_init__(self) -> None:
        """Checks what no single field can tell."""
        if self.kind not in (kinds := engine_kinds()):
            raise ConfigError(f"kind: {unknown_kind(kinds)}")
        if self.api_key_env and self.api_key_file:
            raise ConfigError("api_key_file: not together with api_key_env; keep one of them")
        if self.kind == "openai" and not self.base_url:
            raise ConfigError("base_url: required for an openai engine, such as http://127.0.0.1:8000/v1")
        if self.kind in {"builtin", "replay"} and self.base_url:
            raise ConfigError(f"base_url: a {self.kind} engine has none; set kind (--engine) to openai")
        if self.base_url:
            _check_url(self.base_url)
        if both := sorted(set(self.extra_capabilities) & set(self.missing_capabilities)):
            raise ConfigError(f"missing_capabilities: {both[0]} is in extra_capabilities as well; keep one")
        for name, (unset, kinds) in _READ_BY.items():
            if getattr(self, name) != unset and self.kind in SHIPPED_KINDS - {*kinds}:
                raise ConfigError(f"{name}: for {' and '.join(kinds)} engines only; remove it")

    def read_api_key(self, environ: Mapping[str, str] = os.environ) -> str | None:
        """The engine's key as it is now; None when no key is configured.

        Raises ConfigError when the variable or file is missing or empty.
        """
        return read_secret(f"{self.what} {self.name}: api_key", self.api_key_env, self.api_key_file, environ)


_READ_BY: dict[str, tuple[object, tuple[str, ...]]] = {
    "pace": (0.0, ("builtin",)),
    "api": ("auto", ("openai",)),
    "dialect": ("generic", ("openai",)),
    "extra_capabilities": ((), ("openai", "anthropic", "replay")),
    "on_cancel": ("abort", ("openai", "anthropic")),
    "options": ({}, ("anthropic", "replay")),
}
"""What not every shipped kind reads: its default, and who does. Elsewhere it would silently do nothing."""


def _check_url(url: str) -> None:
    """Credentials and queries are refused, so that a URL can be shown and a path be added to it."""
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
