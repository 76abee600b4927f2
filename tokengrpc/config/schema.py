"""What can be set: names, types, defaults, bounds. Durations are seconds, sizes bytes.

The descriptions are shown to people by `tokengrpc config`.
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
    """What can be set of a model beside its engines."""

    name: Annotated[Name, Meta(description="the name in requests", extra=FLAG)]
    context_token_count: Annotated[
        CountOrNone, Meta(description="input and output together; 0: not told", extra=FLAG)
    ] = 0
    tokenizer: Annotated[
        str, Meta(description="the model's own tokenizer; empty: estimate with o200k_base", extra=FLAG)
    ] = ""
    allowed_engine_params: Annotated[
        tuple[str, ...], Meta(description="keys that requests may pass to the engine")
    ] = ()
    first_token_timeout: Annotated[
        SecondsOrNone,
        Meta(description="the longest wait for a first token, s; 0: the server's", extra=FLAG),
    ] = 0.0
    inter_token_timeout: Annotated[
        SecondsOrNone, Meta(description="the longest wait for a next token, s; 0: the server's", extra=FLAG)
    ] = 0.0
    time_limit: Annotated[
        SecondsOrNone,
        Meta(description="the longest that a generation may run, s; 0: the server's", extra=FLAG),
    ] = 0.0
    allow_request_faults: Annotated[
        bool,
        Meta(description="whether requests may bring faults of their own: see docs/simulator.md", extra=FLAG),
    ] = False


class ModelSettings(ModelFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model and the engines that run it. In a file, the settings of a single engine may stand beside it."""

    engines: Annotated[
        tuple[EngineSettings, ...],
        Meta(
            min_length=1,
            description="its engines where there are several, each a [[models.engines]] of engine settings",
        ),
    ]

    def __post_init__(self) -> None:
        """Checks that engines have different names."""
        if "faults" in self.allowed_engine_params:
            raise ConfigError("allowed_engine_params: without faults; set allow_request_faults instead")
        check_different("engines", [engine.name for engine in self.served_engines])

    @property
    def served_engines(self) -> tuple[EngineSettings, ...]:
        """Its engines, with what they take from the model filled in."""
        return tuple(self._filled(engine) for engine in self.engines)

    @property
    def is_single(self) -> bool:
        """Whether it has one engine without a name of its own, whose settings stand with the model's."""
        return len(self.engines) == 1 and not (self.engines[0].name or self.engines[0].context_token_count)

    def _filled(self, engine: EngineSettings) -> EngineSettings:
        return structs.replace(
            engine,
            name=engine.name or self.name,
            upstream_model=engine.upstream_model or self.name,
            context_token_count=engine.context_token_count or self.context_token_count,
        )


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
    connect_timeout: Annotated[Seconds, Meta(description="the most that an engine's may be, s")] = 30.0
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
    max_engine_attempts: Annotated[
        int, Meta(ge=1, le=100, description="engines that a request is sent to before its first token")
    ] = 3
    drain_time: Annotated[SecondsOrNone, Meta(description="streams may finish after SIGTERM for, s")] = 30.0
    store_timeout: Annotated[Seconds, Meta(description="longest wait for one call of a store, s")] = 2.0
    store_retry_time: Annotated[
        Seconds, Meta(description="longest time to repeat a failing call of a store, s")
    ] = 10.0
    max_unacknowledged_bytes: Annotated[
        Bytes, Meta(description="events of one generation on their way to the store")
    ] = 4 << 20
    checkpoint_interval: Annotated[
        SecondsOrNone, Meta(description="interval of usage checkpoints in a durable ledger, s; 0: none")
    ] = 0.25
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
    data_dir: Annotated[
        str, Meta(description="directory for data that must survive the process; empty: keep none")
    ] = ""
    ledger: Annotated[str, Meta(description="usage ledger: memory or an installed one, by name or URL")] = (
        "memory"
    )
    ledger_outage: Annotated[
        Literal["auto", "strict", "degrade"],
        Meta(
            description="while the ledger is unavailable, new generations are refused (strict) or served "
            "(degrade); auto: strict with tenants"
        ),
    ] = "auto"
    store: Annotated[
        str, Meta(description="event store shared by replicas, by name or URL; empty: events stay in memory")
    ] = ""
    authenticator: Annotated[
        str, Meta(description="who finds out who calls: static (keys of tenants) or an installed one")
    ] = "static"
    budget: Annotated[
        str, Meta(description="who limits how much callers use: unlimited or an installed one")
    ] = "unlimited"
    observers: Annotated[tuple[str, ...], Meta(description="observers, by name: log or installed ones")] = (
        "log",
    )
    plugins: Annotated[
        dict[str, dict[str, Any]], Meta(description="settings of installed plugins, a table each, by name")
    ] = {}
    limits: LimitSettings = LimitSettings()
    models: Annotated[tuple[ModelSettings, ...], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: (ModelSettings(name="builtin", engines=(convert_engine({}),)),)
    )
    tenants: Annotated[
        tuple[TenantSettings, ...], Meta(description="who may call; none: everybody, as `default`")
    ] = ()

    def __post_init__(self) -> None:
        """Checks that names are different and known."""
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
        """A model's clocks are within the server's."""
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
        """The model of requests that name none."""
        return self.default_model or self.models[0].name


_CLOCKS = (
    ("first_token_timeout", "first_token_timeout"),
    ("inter_token_timeout", "inter_token_timeout"),
    ("time_limit", "max_time_limit"),
)
"""A model's clocks, each with the server's that bounds it."""


def _check_at_most(key: str, value: float, limits: LimitSettings, name: str) -> None:
    if value > (most := getattr(limits, name)):
        raise ConfigError(f"{key}: must be at most limits.{name}, which is {most:g}")


def _check_known(key: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ConfigError(f"{key}: no model is named `{name}`; there are: {', '.join(names)}")
