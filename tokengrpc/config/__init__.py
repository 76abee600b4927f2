"""Settings: read once, validated and frozen.

Settings are resolved in this order, highest precedence first: command-line flags, `TOKENGRPC_*` variables,
one TOML file, defaults.
"""

from __future__ import annotations

from tokengrpc.config.build import engine_settings, model_settings
from tokengrpc.config.engine import EngineSettings
from tokengrpc.config.faults import FaultSettings
from tokengrpc.config.limits import LimitSettings
from tokengrpc.config.models import ModelSettings
from tokengrpc.config.prices import PriceSettings, price_list
from tokengrpc.config.remote import RemoteEngineSettings
from tokengrpc.config.report import describe
from tokengrpc.config.schema import Settings
from tokengrpc.config.sources import Loaded, load, load_with_origins
from tokengrpc.config.tenants import BudgetSettings, ModelLimitSettings, TenantSettings
from tokengrpc.config.tls import TLSSettings
from tokengrpc.config.values import ConfigError

__all__ = [
    "BudgetSettings",
    "ConfigError",
    "EngineSettings",
    "FaultSettings",
    "LimitSettings",
    "Loaded",
    "ModelLimitSettings",
    "ModelSettings",
    "PriceSettings",
    "RemoteEngineSettings",
    "Settings",
    "TLSSettings",
    "TenantSettings",
    "describe",
    "engine_settings",
    "load",
    "load_with_origins",
    "model_settings",
    "price_list",
]
