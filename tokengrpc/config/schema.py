"""The schema of the settings: names, types, defaults, bounds. Durations are in seconds, sizes in bytes.

`tokengrpc config` shows the descriptions.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, structs

from tokengrpc.config.engine import EngineSettings
from tokengrpc.config.kinds import convert_engine
from tokengrpc.config.values import (
    FLAG,
    Address,
    Bytes,
    ConfigError,
    Count,
    CountOrNone,
    Name,
    Seconds,
    SecondsOrNone,
    Variable,
    check_different,
    read_secret,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ModelFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a model, without its engines."""

    name: Annotated[Name, Meta(description="name of the model in requests", extra=FLAG)]
    context_token_count: Annotated[
        CountOrNone,
        Meta(description="maximum tokens of input and output together; 0: unknown", extra=FLAG),
    ] = 0
    tokenizer: Annotated[
        str, Meta(description="the model's own tokenizer; empty: estimate with o200k_base", extra=FLAG)
    ] = ""
    allowed_engine_params: Annotated[
        tuple[str, ...], Meta(description="engine parameters that requests may set")
    ] = ()
    first_token_timeout: Annotated[
        SecondsOrNone,
        Meta(description="timeout for the first token, in seconds; 0: the server's", extra=FLAG),
    ] = 0.0
    inter_token_timeout: Annotated[
        SecondsOrNone,
        Meta(description="timeout between tokens, in seconds; 0: the server's", extra=FLAG),
    ] = 0.0
    time_limit: Annotated[
        SecondsOrNone,
        Meta(description="maximum duration of a generation, in seconds; 0: the server's", extra=FLAG),
    ] = 0.0
    session_load_bound: Annotated[
        CountOrNone,
        Meta(
            description="outstanding tokens by which a session's engine may exceed the least loaded one; "
            "0: sessions are ignored"
        ),
    ] = 8192
    allow_request_faults: Annotated[
        bool,
        Meta(description="whether requests may inject faults: see docs/simulator.md", extra=FLAG),
    ] = False


class ModelSettings(ModelFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a model and its engines. In a file, the model's table may contain those of one engine."""

    engines: Annotated[
        tuple[EngineSettings, ...],
        Meta(
            min_length=1,
            description="engines of the model, if several; each is a [[models.engines]] table",
        ),
    ]

    def __post_init__(self) -> None:
        """Checks that engines have different names, and that faults have their own switch."""
        if "faults" in self.allowed_engine_params:
            raise ConfigError(
                "allowed_engine_params: must not contain faults; set allow_request_faults instead"
            )
        check_different("engines", [engine.name for engine in self.served_engines])

    @property
    def served_engines(self) -> tuple[EngineSettings, ...]:
        """Engines, with unset names, upstream models and context lengths filled in from the model."""
        return tuple(self._filled(engine) for engine in self.engines)

    @property
    def is_single(self) -> bool:
        """Whether the model has a single engine, whose settings are in the model's table."""
        return len(self.engines) == 1 and not (self.engines[0].name or self.engines[0].context_token_count)

    def _filled(self, engine: EngineSettings) -> EngineSettings:
        return structs.replace(
            engine,
            name=engine.name or self.name,
            upstream_model=engine.upstream_model or self.name,
            context_token_count=engine.context_token_count or self.context_token_count,
        )


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a tenant: its key, its models and its limits."""

    name: Annotated[Name, Meta(description="name of the tenant in the usage ledger and logs")]
    key_env: Annotated[Variable, Meta(description="environment variable with the tenant's key")] = ""
    key_file: Annotated[str, Meta(description="file with the tenant's key")] = ""
    models: Annotated[
        tuple[str, ...], Meta(description="models that the tenant may use; empty: all models")
    ] = ()
    admin: Annotated[bool, Meta(description="whether the tenant may see other tenants' usage")] = False
    max_generations: Annotated[
        CountOrNone, Meta(description="maximum concurrent generations; 0: no limit of its own")
    ] = 0

    def __post_init__(self) -> None:
        """Checks that there is exactly one key."""
        if not (self.key_env or self.key_file):
            raise ConfigError("key_env: required (or key_file), so that this tenant has a key")
        if self.key_env and self.key_file:
            raise ConfigError("key_file: cannot be combined with key_env; remove one of them")

    def read_key(self, environ: Mapping[str, str] = os.environ) -> str:
        """Reads the tenant's key. Raises ConfigError if it is missing or empty."""
        return read_secret(f"tenant {self.name}: key", self.key_env, self.key_file, environ) or ""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the server and of every generation."""

    max_request_bytes: Annotated[Bytes, Meta(description="maximum size of a request, in bytes")] = 1 << 20
    max_generations: Annotated[Count, Meta(description="maximum concurrent generations")] = 4096
    max_readers: Annotated[Count, Meta(description="maximum concurrent readers of a generation")] = 64
    max_output_token_count: Annotated[
        CountOrNone, Meta(description="maximum output tokens of a generation; 0: no limit")
    ] = 0
    max_time_limit: Annotated[Seconds, Meta(description="maximum duration of a generation, in seconds")] = (
        3600.0
    )
    connect_timeout: Annotated[
        Seconds, Meta(description="maximum connect_timeout of an engine, in seconds")
    ] = 30.0
    first_token_timeout: Annotated[Seconds, Meta(description="timeout for the first token, in seconds")] = (
        120.0
    )
    inter_token_timeout: Annotated[Seconds, Meta(description="timeout between tokens, in seconds")] = 60.0
    detach_ttl: Annotated[
        Seconds,
        Meta(description="how long a detached generation waits for a reader by default, in seconds"),
    ] = 30.0
    max_detach_ttl: Annotated[
        Seconds, Meta(description="maximum detach_ttl that a request may set, in seconds")
    ] = 300.0
    replay_ttl: Annotated[
        Seconds,
        Meta(description="how long events are kept after a generation's end by default, in seconds"),
    ] = 60.0
    max_replay_ttl: Annotated[
        Seconds, Meta(description="maximum replay_ttl that a request may set, in seconds")
    ] = 600.0
    generation_log_bytes: Annotated[
        Bytes, Meta(description="maximum size of a generation's kept events, in bytes")
    ] = 8 << 20
    total_log_bytes: Annotated[Bytes, Meta(description="maximum size of all kept events, in bytes")] = (
        512 << 20
    )
    write_stall_timeout: Annotated[
        Seconds, Meta(description="a stream ends if its reader reads nothing for this long, in seconds")
    ] = 30.0
    heartbeat_interval: Annotated[
        Seconds, Meta(description="interval of heartbeats on a stream without events, in seconds")
    ] = 15.0
    max_engine_attempts: Annotated[
        int, Meta(ge=1, le=100, description="maximum attempts of a request before its first token")
    ] = 3
    drain_time: Annotated[
        SecondsOrNone, Meta(description="graceful shutdown period after SIGTERM, in seconds")
    ] = 30.0
    store_timeout: Annotated[Seconds, Meta(description="timeout of one store call, in seconds")] = 2.0
    store_retry_time: Annotated[
        Seconds, Meta(description="how long a failing store call is repeated, in seconds")
    ] = 10.0
    max_unacknowledged_bytes: Annotated[
        Bytes,
        Meta(description="maximum size of a generation's events not yet stored in the event store, in bytes"),
    ] = 4 << 20
    checkpoint_interval: Annotated[
        SecondsOrNone,
        Meta(description="interval of usage checkpoints in a durable ledger, in seconds; 0: none"),
    ] = 0.25
    cancel_wait: Annotated[
        Seconds, Meta(description="how long CancelGeneration waits for the end, in seconds")
    ] = 5.0

    def __post_init__(self) -> None:
        """Checks that no default is above its maximum."""
        for low, high in _PAIRS:
            if getattr(self, low) > (most := getattr(self, high)):
                raise ConfigError(f"{low}: must be at most {high}, which is {most:g}")


_PAIRS = (
    ("detach_ttl", "max_detach_ttl"),
    ("replay_ttl", "max_replay_ttl"),
    ("generation_log_bytes", "total_log_bytes"),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a server."""

    listen: Annotated[
        Address, Meta(description="address to listen on, HOST:PORT; port 0 selects a free port")
    ] = "127.0.0.1:50051"
    default_model: Annotated[
        str, Meta(description="model for requests without a model; empty: the first model")
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="minimum level of log lines")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="format of log lines; auto: console if stderr is a terminal, otherwise json"),
    ] = "auto"
    data_dir: Annotated[
        str, Meta(description="directory for data that must survive the process; empty: none is kept")
    ] = ""
    ledger: Annotated[str, Meta(description="usage ledger: memory or a plugin's, by name or URL")] = "memory"
    ledger_outage: Annotated[
        Literal["auto", "strict", "degrade"],
        Meta(
            description="while the ledger is unavailable, new generations are rejected (strict) or served "
            "(degrade); auto: strict if there are tenants"
        ),
    ] = "auto"
    store: Annotated[
        str, Meta(description="event store shared by replicas, by name or URL; empty: events stay in memory")
    ] = ""
    authenticator: Annotated[
        str, Meta(description="authenticator of callers: static (keys of tenants) or a plugin's, by name")
    ] = "static"
    budget: Annotated[str, Meta(description="token budgets of callers: unlimited or a plugin's, by name")] = (
        "unlimited"
    )
    observers: Annotated[tuple[str, ...], Meta(description="observers: log or plugins', by name")] = ("log",)
    plugins: Annotated[
        dict[str, dict[str, Any]], Meta(description="settings of plugins, by name; one table for each")
    ] = {}
    limits: LimitSettings = LimitSettings()
    models: Annotated[tuple[ModelSettings, ...], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: (ModelSettings(name="builtin", engines=(convert_engine({}),)),)
    )
    tenants: Annotated[
        tuple[TenantSettings, ...], Meta(description="tenants; none: all callers are the tenant `default`")
    ] = ()

    def __post_init__(self) -> None:
        """Checks that names are unique and references to models known."""
        if int(self.listen.rpartition(":")[2]) > 65_535:
            raise ConfigError("listen: the port must be from 0 to 65535")
        names = [model.name for model in self.models]
        check_different("models", names)
        check_different("tenants", [tenant.name for tenant in self.tenants])
        if self.default_model:
            _check_known("default_model", self.default_model, names)
        for index, tenant in enumerate(self.tenants):
            for position, model in enumerate(tenant.models):
                _check_known(f"tenants[{index}].models[{position}]", model, names)
        for index, served in enumerate(self.models):
            self._check_clocks(f"models[{index}]", served)

    def _check_clocks(self, path: str, model: ModelSettings) -> None:
        """Checks that a model's timeouts are not above the server's."""
        for name, largest in _CLOCKS:
            _check_at_most(f"{path}.{name}", getattr(model, name), self.limits, largest)
        for index, engine in enumerate(model.engines):
            where = path if model.is_single else f"{path}.engines[{index}]"
            _check_at_most(f"{where}.connect_timeout", engine.connect_timeout, self.limits, "connect_timeout")

    @property
    def is_strict(self) -> bool:
        """Whether generations are refused while the ledger is unavailable."""
        return self.ledger_outage == "strict" or (self.ledger_outage == "auto" and bool(self.tenants))

    @property
    def default_model_name(self) -> str:
        """Model for requests without a model."""
        return self.default_model or self.models[0].name


_CLOCKS = (
    ("first_token_timeout", "first_token_timeout"),
    ("inter_token_timeout", "inter_token_timeout"),
    ("time_limit", "max_time_limit"),
)
"""The timeouts of a model, each with the server's limit for it."""


def _check_at_most(key: str, value: float, limits: LimitSettings, name: str) -> None:
    if value > (most := getattr(limits, name)):
        raise ConfigError(f"{key}: must be at most limits.{name}, which is {most:g}")


def _check_known(key: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ConfigError(f"{key}: there is no model `{name}`; the models are: {', '.join(names)}")
