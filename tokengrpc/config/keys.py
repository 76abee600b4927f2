"""The table of settings that have a variable and a flag."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from msgspec import NODEFAULT, Struct, structs
from msgspec.inspect import DictType, StructType, type_info

from tokengrpc.config.kinds import settings_types
from tokengrpc.config.limits import LimitSettings
from tokengrpc.config.messages import bare
from tokengrpc.config.models import ModelFields
from tokengrpc.config.remote import PluginEngineSettings
from tokengrpc.config.schema import Settings
from tokengrpc.config.tls import TLSSettings

PREFIX = "TOKENGRPC_"
CONFIG_VARIABLE = "TOKENGRPC_CONFIG"
# Variables of the client and the tests, not settings of the server.
FOREIGN_VARIABLES = frozenset(
    {
        "TOKENGRPC_REQUIRE_ALL",
        "TOKENGRPC_TARGET",
        "TOKENGRPC_TARGET_CA_FILE",
        "TOKENGRPC_TARGET_CERT_FILE",
        "TOKENGRPC_TARGET_KEY_FILE",
        "TOKENGRPC_TARGET_TLS",
        "TOKENGRPC_TOKEN",
        "TOKENGRPC_TOKEN_FILE",
    }
)
# Kubernetes sets these variables in each pod if there is a service that is named tokengrpc or tokengrpc-*
# (kubernetes.io, Service, "Environment variables").
SERVICE_LINK = re.compile(
    r"TOKENGRPC_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

MODEL = "models[0]"
_SECTIONS: dict[str, type[Struct]] = {"": Settings, "limits": LimitSettings, "tls": TLSSettings}


@functools.cache  # msgspec evaluates all annotations again in each call of `fields`
def _fields(section: str) -> dict[str, structs.FieldInfo]:
    """Returns the settings of a section by name; for a model, also those of all kinds of engines."""
    types: list[type[Struct]] = [ModelFields, *settings_types().values(), PluginEngineSettings]
    found: dict[str, structs.FieldInfo] = {}
    for struct in types if section == MODEL else [_SECTIONS[section]]:
        for field in structs.fields(struct):
            found.setdefault(field.name, field)
    return found


def _has_flag(field: structs.FieldInfo) -> bool:
    return any(
        (getattr(meta, "extra", None) or {}).get("flag") for meta in getattr(field.type, "__metadata__", ())
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a setting: a section (empty for the top level) and a name in it."""

    section: str
    name: str

    @property
    def path(self) -> str:
        """Path of the setting, such as `limits.max_readers`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def type(self) -> Any:  # noqa: ANN401 - annotations have no common type
        """Annotation in the schema."""
        return _fields(self.section)[self.name].type

    @property
    def default(self) -> Any:  # noqa: ANN401 - as above
        """Default in the schema; None if it has none."""
        default = _fields(self.section)[self.name].default
        return None if default is NODEFAULT else default

    @property
    def is_table(self) -> bool:
        """Whether the setting is a table, which is written as JSON in variables and flags."""
        return isinstance(bare(type_info(self.type)), StructType | DictType)

    @property
    def meaning(self) -> str:
        """Description in the schema."""
        return next(str(meta.description) for meta in self.type.__metadata__ if meta.description)


_TOP_KEYS = (
    "listen",
    "insecure",
    "admin_listen",
    "admin_grpc_listen",
    "server_name",
    "default_model",
    "load_reports",
    "log_level",
    "log_format",
    "otlp",
    "data_dir",
    "ledger",
    "ledger_outage",
    "store",
    "store_outage",
    "authenticator",
    "reflection",
    "budget",
)
# The key `base_url` is the variable TOKENGRPC_BASE_URL and the flag --base-url.
KEYS: dict[str, Place] = {
    **{key: Place("", key) for key in _TOP_KEYS},
    **{f"tls_{name}": Place("tls", name) for name in TLSSettings.__struct_fields__},
    "engine": Place(MODEL, "kind"),
    "model": Place(MODEL, "name"),
    **{
        f.name: Place(MODEL, f.name)
        for f in _fields(MODEL).values()
        if _has_flag(f) and f.name not in {"kind", "name"}
    },
    **{f"limits_{name}": Place("limits", name) for name in LimitSettings.__struct_fields__},
}
# Any of these keys defines one model, which replaces the models of the file.
DEFINING_KEYS = frozenset({"engine", "model", "base_url"})


def variable(key: str) -> str:
    """Returns the variable of a key."""
    return PREFIX + key.upper()


def flag(key: str) -> str:
    """Returns the flag of a key."""
    return "--" + key.replace("_", "-")


def names(key: str) -> str:
    """Returns the flag and the variable of a key, for messages. Limits have variables only."""
    return variable(key) if KEYS[key].section == "limits" else f"{flag(key)} (or {variable(key)})"


def key_at(path: str) -> str | None:
    """Returns the key that sets the setting at a path; None if there is none."""
    return next((key for key, place in KEYS.items() if place.path == path), None)
