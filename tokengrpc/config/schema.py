"""What can be set: names, types, defaults, bounds. Durations are seconds, sizes bytes.

The descriptions are shown to people by `tokengrpc config`.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~:/-]{1,128}\Z")]
Variable = Annotated[str, Meta(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?\Z")]
Address = Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}\Z")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 40)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
CountOrNone = Annotated[int, Meta(ge=0, le=1_000_000_000)]

SHIPPED_KINDS = frozenset({"builtin", "openai"})


class ConfigError(ValueError):
    """A setting is wrong; one line for people. The schema's own checks start it with the key."""


@cache
def engine_kinds() -> tuple[str, ...]:
    """Names of all engines that are installed: entry points of the group `tokengrpc.engines`."""
    return tuple(sorted(SHIPPED_KINDS | entry_points(group="tokengrpc.engines").names))


def unknown_kind(kinds: Sequence[str]) -> str:
    """What is wrong with an engine that is none of these."""
    return f"no such engine is installed; installed are: {', '.join(kinds)}"


def read_secret(key: str, variable: str, file: str, environ: Mapping[str, str]) -> str | None:
    """A secret from a variable or a file, whichever is named; None where neither is.

    Raises ConfigError, which names the variable or file, when it is missing or empty.
    """
    if variable:
        secret = environ.get(variable, "").strip()
        what = f"{key}_env: the environment variable {variable}"
    elif file:
        what = f"{key}_file: the file {file}"
        try:
            secret = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"{what} cannot be read: {reason}") from None
    else:
        return None
    if not secret:
        raise ConfigError(f"{what} is not set or empty")
    return secret


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model and the engine that runs it."""

    name: Annotated[Name, Meta(description="the name in requests")]
    kind: Annotated[str, Meta(description="the engine: builtin, openai or an installed one")] = "builtin"
    base_url: Annotated[str, Meta(description="where the engine is, such as http://127.0.0.1:8000/v1")] = ""
    upstream_model: Annotated[str, Meta(description="the engine's name for the model; empty: `name`")] = ""
    api: Annotated[
        Literal["auto", "chat", "completions"],
        Meta(description="the engine's API; auto: chat for conversations, completions for prompts"),
    ] = "auto"
    dialect: Annotated[
        Literal["generic", "openai", "vllm"], Meta(description="whose extensions the engine speaks")
    ] = "generic"
    api_key_env: Annotated[Variable, Meta(description="the variable that holds the engine's key")] = ""
    api_key_file: Annotated[str, Meta(description="the file that holds the engine's key")] = ""
    tokenizer: Annotated[
        str, Meta(description="the model's own tokenizer; empty: estimate with o200k_base")
    ] = ""
    context_token_count: Annotated[
        CountOrNone, Meta(description="input and output together; 0: not told")
    ] = 0
    pace: Annotated[
        float, Meta(ge=0, le=1_000_000, description="tokens per second of a builtin engine; 0: no limit")
    ] = 0.0
    connect_timeout: Annotated[Seconds, Meta(description="the longest wait for a connection, s")] = 5.0
    allowed_engine_params: Annotated[
        tuple[str, ...], Meta(description="keys that requests may pass to the engine")
    ] = ()
    options: Annotated[dict[str, Any], Meta(description="for engines that were installed")] = {}

    def __post_init__(self) -> None:
        """Checks what no single field can tell."""
        if self.kind not in (kinds := engine_kinds()):
            raise ConfigError(f"kind: {unknown_kind(kinds)}")
        if self.api_key_env and self.api_key_file:
            raise ConfigError("api_key_file: not together with api_key_env; keep one of them")
        if self.kind == "openai" and not self.base_url:
            raise ConfigError("base_url: required for an openai engine, such as http://127.0.0.1:8000/v1")
        if self.kind == "builtin" and self.base_url:
            raise ConfigError("base_url: a builtin engine has none; set kind (--engine) to openai")
        if self.base_url:
            _check_url(self.base_url)
        if self.pace and self.kind in SHIPPED_KINDS - {"builtin"}:
            raise ConfigError("pace: for builtin engines only; remove it")

    def read_api_key(self, environ: Mapping[str, str] = os.environ) -> str | None:
        """The engine's key as it is now; None when no key is configured.

        Raises ConfigError when the variable or file is missing or empty.
        """
        return read_secret(f"model {self.name}: api_key", self.api_key_env, self.api_key_file, environ)


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call, with which key and for which models."""

    name: Annotated[Name, Meta(description="the name in the ledger")]
    key_env: Annotated[Variable, Meta(description="the variable that holds the callers' key")] = ""
    key_file: Annotated[str, Meta(description="the file that holds the callers' key")] = ""
    models: Annotated[tuple[str, ...], Meta(description="the models it may use; none named: all")] = ()
    admin: Annotated[bool, Meta(description="whether it may see other tenants' usage")] = False
    max_generations: Annotated[
        CountOrNone, Meta(description="generations running at once; 0: no limit of its own")
    ] = 0

    def __post_init__(self) -> None:
        """Checks that there is exactly one key."""
        if not (self.key_env or self.key_file):
            raise ConfigError("key_env: required (or key_file): where this tenant's key is")
        if self.key_env and self.key_file:
            raise ConfigError("key_file: not together with key_env; keep one of them")

    def read_key(self, environ: Mapping[str, str] = os.environ) -> str:
        """The callers' key as it is now. Raises ConfigError when it is missing or empty."""
        return read_secret(f"tenant {self.name}: key", self.key_env, self.key_file, environ) or ""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds that hold for every generation."""

    max_request_bytes: Annotated[Bytes, Meta(description="the largest request")] = 1 << 20
    max_generations: Annotated[Count, Meta(description="generations running at once")] = 4096
    max_readers: Annotated[Count, Meta(description="readers of one generation")] = 64
    max_output_token_count: Annotated[CountOrNone, Meta(description="output of one; 0: no limit")] = 0
    max_time_limit: Annotated[Seconds, Meta(description="the longest that one may run, s")] = 3600.0
    first_token_timeout: Annotated[Seconds, Meta(description="the longest wait for a first token, s")] = 120.0
    inter_token_timeout: Annotated[Seconds, Meta(description="the longest wait for a next token, s")] = 60.0
    detach_ttl: Annotated[Seconds, Meta(description="wait for a reader where a request names none, s")] = 30.0
    max_detach_ttl: Annotated[Seconds, Meta(description="the most that a request may name, s")] = 300.0
    replay_ttl: Annotated[Seconds, Meta(description="events stay readable where it names none, s")] = 60.0
    max_replay_ttl: Annotated[Seconds, Meta(description="the most that a request may name, s")] = 600.0
    generation_log_bytes: Annotated[Bytes, Meta(description="kept events of one generation")] = 8 << 20
    total_log_bytes: Annotated[Bytes, Meta(description="kept events of all generations")] = 512 << 20
    write_stall_timeout: Annotated[Seconds, Meta(description="a reader that reads nothing is cut, s")] = 30.0
    heartbeat_interval: Annotated[Seconds, Meta(description="the longest silence of a stream, s")] = 15.0
    drain_time: Annotated[
        float, Meta(ge=0, le=86_400, description="streams may finish after SIGTERM for, s")
    ] = 30.0
    cancel_wait: Annotated[Seconds, Meta(description="CancelGeneration waits for the end for, s")] = 5.0

    def __post_init__(self) -> None:
        """Checks that a default is not above its maximum."""
        for low, high in _PAIRS:
            if getattr(self, low) > (most := getattr(self, high)):
                raise ConfigError(f"{low}: must be at most {high}, which is {most:g}")


_PAIRS = (
    ("detach_ttl", "max_detach_ttl"),
    ("replay_ttl", "max_replay_ttl"),
    ("generation_log_bytes", "total_log_bytes"),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a server needs to know."""

    listen: Annotated[Address, Meta(description="HOST:PORT; port 0 picks a free one")] = "127.0.0.1:50051"
    default_model: Annotated[str, Meta(description="for requests that name none; empty: the first")] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="the least that is logged")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto: console where stderr is a terminal")
    ] = "auto"
    limits: LimitSettings = LimitSettings()
    models: Annotated[tuple[ModelSettings, ...], Meta(min_length=1)] = (ModelSettings(name="builtin"),)
    tenants: Annotated[
        tuple[TenantSettings, ...], Meta(description="who may call; none: everybody, as `default`")
    ] = ()

    def __post_init__(self) -> None:
        """Checks that names are different and known."""
        if int(self.listen.rpartition(":")[2]) > 65_535:
            raise ConfigError("listen: the port must be from 0 to 65535")
        names = [model.name for model in self.models]
        _check_different("models", names)
        _check_different("tenants", [tenant.name for tenant in self.tenants])
        if self.default_model:
            _check_known("default_model", self.default_model, names)
        for index, tenant in enumerate(self.tenants):
            for position, model in enumerate(tenant.models):
                _check_known(f"tenants[{index}].models[{position}]", model, names)

    @property
    def default_model_name(self) -> str:
        """The model of requests that name none."""
        return self.default_model or self.models[0].name


def _check_different(key: str, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(f"{key}[{index}].name: `{name}` is taken; names must be different")


def _check_known(key: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ConfigError(f"{key}: no model is named `{name}`; there are: {', '.join(names)}")


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
