"""The schema of the settings: names, types, defaults, bounds. `tokengrpc config` shows the descriptions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokengrpc.config.kinds import convert_engine
from tokengrpc.config.limits import LimitSettings
from tokengrpc.config.models import ModelSettings
from tokengrpc.config.prices import PriceSettings, check_prices
from tokengrpc.config.tenants import TenantSettings
from tokengrpc.config.tls import TLSSettings
from tokengrpc.config.values import (
    Address,
    ConfigError,
    HostPortOrNone,
    NameOrNone,
    check_different,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a server."""

    listen: Annotated[
        Address, Meta(description="address to listen on, HOST:PORT or unix:/PATH; port 0 selects a free port")
    ] = "127.0.0.1:50051"
    tls: TLSSettings = TLSSettings()
    insecure: Annotated[
        bool,
        Meta(
            description="whether other machines may reach the server in plaintext or without authentication, "
            "as behind a mesh or proxy"
        ),
    ] = False
    admin_listen: Annotated[
        HostPortOrNone,
        Meta(
            description="address of the admin pages (health, metrics, debug), HOST:PORT, for operators only; "
            "empty: none"
        ),
    ] = ""
    admin_grpc_listen: Annotated[
        HostPortOrNone,
        Meta(
            description="address of health and channelz over gRPC, HOST:PORT, for operators only; empty: none"
        ),
    ] = ""
    server_name: Annotated[
        NameOrNone, Meta(description="name of this server, which callers see; empty: the host's name")
    ] = ""
    default_model: Annotated[
        str, Meta(description="model for requests without a model; empty: the first model")
    ] = ""
    load_reports: Annotated[
        bool,
        Meta(
            description="whether everyone who reaches the port is told the server's load (ORCA), to balance "
            "by it"
        ),
    ] = False
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
    ledger: Annotated[
        str,
        Meta(
            description="usage ledger: sqlite (in data_dir), sqlite:PATH, a postgresql:// URL, memory, or "
            "a plugin's, by name or URL; auto: sqlite if there is a data_dir, otherwise memory"
        ),
    ] = "auto"
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
    store_outage: Annotated[
        Literal["strict", "degrade"],
        Meta(
            description="while the event store is away, streams pause and new generations are rejected "
            "(strict), or both go on in the memory of this server (degrade)"
        ),
    ] = "strict"
    authenticator: Annotated[
        str,
        Meta(
            description="authenticators of callers, by name: static (keys of tenants), database (keys of the "
            "ledger's database), jwt, certificate or a plugin's; separated by commas, each kind of "
            "credential goes to the first one that takes it"
        ),
    ] = "static"
    reflection: Annotated[
        Literal["open", "authenticated", "off"],
        Meta(description="who may call reflection: everybody, callers with a credential, nobody"),
    ] = "open"
    budget: Annotated[
        str,
        Meta(
            description="rates and budgets of callers: tenant (as `[[tenants]]` says), unlimited, or a "
            "plugin's, by name"
        ),
    ] = "tenant"
    otlp: Annotated[
        bool,
        Meta(description="whether traces and metrics are exported over OTLP, as the variables OTEL_* say"),
    ] = False
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
    prices: Annotated[
        tuple[PriceSettings, ...], Meta(description="prices of models; none: usage has no cost")
    ] = ()

    def __post_init__(self) -> None:
        """Checks that names are unique and references to models known."""
        self._check_listen()
        names = [model.name for model in self.models]
        check_different("models", names)
        check_different("tenants", [tenant.name for tenant in self.tenants])
        self._check_authenticators()
        if self.default_model:
            _check_known("default_model", self.default_model, names)
        for index, tenant in enumerate(self.tenants):
            for position, model in enumerate(tenant.models):
                _check_known(f"tenants[{index}].models[{position}]", model, names)
            for position, limit in enumerate(tenant.model_limits):
                _check_known(f"tenants[{index}].model_limits[{position}].model", limit.model, names)
            for position, budget in enumerate(tenant.budgets):
                if budget.model:
                    _check_known(f"tenants[{index}].budgets[{position}].model", budget.model, names)
        check_prices(self.prices)
        for index, served in enumerate(self.models):
            self._check_clocks(f"models[{index}]", served)

    def _check_listen(self) -> None:
        if self.listen.startswith("unix:"):
            if len(os.fsencode(self.listen.removeprefix("unix:"))) > _MAX_SOCKET_PATH:
                raise ConfigError(f"listen: the path must have at most {_MAX_SOCKET_PATH} bytes")
            if self.tls.cert_file:
                raise ConfigError(
                    "tls.cert_file: a Unix socket is plaintext; remove it, or listen on HOST:PORT"
                )
        else:
            _check_port("listen", self.listen)
        for key in ("admin_listen", "admin_grpc_listen"):
            if address := getattr(self, key):
                _check_port(key, address)

    def _check_authenticators(self) -> None:
        names = self.authenticators
        if not all(names) or len(set(names)) < len(names):
            raise ConfigError("authenticator: must be different names with commas between, as jwt,static")
        for index, tenant in enumerate(self.tenants):
            if names == ("static",) and not tenant.has_key:
                raise ConfigError(
                    f"tenants[{index}].key_env: required (or key_file), so that this tenant has a key"
                )

    def _check_clocks(self, path: str, model: ModelSettings) -> None:
        """Checks that a model's timeouts are not above the server's."""
        for name, largest in _CLOCKS:
            _check_at_most(f"{path}.{name}", getattr(model, name), self.limits, largest)
        for index, engine in enumerate(model.engines):
            where = path if model.is_single else f"{path}.engines[{index}]"
            _check_at_most(f"{where}.connect_timeout", engine.connect_timeout, self.limits, "connect_timeout")

    @property
    def authenticators(self) -> tuple[str, ...]:
        """Names of the authenticators, in their order."""
        return tuple(name.strip() for name in self.authenticator.split(","))

    @property
    def chosen_ledger(self) -> str:
        """The usage ledger, where `auto` is decided."""
        if self.ledger != "auto":
            return self.ledger
        return "sqlite" if self.data_dir else "memory"

    @property
    def is_strict(self) -> bool:
        """Whether generations are refused while the ledger is unavailable."""
        has_tenants = bool(self.tenants) or self.authenticators != ("static",)
        return self.ledger_outage == "strict" or (self.ledger_outage == "auto" and has_tenants)


_MAX_SOCKET_PATH = 103
"""Bytes of the path of a Unix socket that every system takes."""

_CLOCKS = (
    ("first_token_timeout", "first_token_timeout"),
    ("inter_token_timeout", "inter_token_timeout"),
    ("time_limit", "max_time_limit"),
    ("max_queue_time", "max_queue_time"),
)
"""The timeouts of a model, each with the server's limit for it, of which 0 is none."""


def _check_at_most(key: str, value: float, limits: LimitSettings, name: str) -> None:
    most = getattr(limits, name)
    if most and value > most:
        raise ConfigError(f"{key}: must be at most limits.{name}, which is {most:g}")


def _check_port(key: str, address: str) -> None:
    if int(address.rpartition(":")[2]) > 65_535:
        raise ConfigError(f"{key}: the port must be from 0 to 65535")


def _check_known(key: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ConfigError(f"{key}: there is no model `{name}`; the models are: {', '.join(names)}")
