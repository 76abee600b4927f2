"""The first admin key, made in the database without a server."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from tokengrpc.config import ConfigError
from tokengrpc.core.tenant import Scope, Tenant
from tokengrpc.stores.sql.database import translated
from tokengrpc.stores.sql.maintenance import opened_database
from tokengrpc.stores.sql.tenant_queries import find_tenant, key_of
from tokengrpc.stores.sql.tenant_tables import api_keys
from tokengrpc.stores.sql.tenant_writes import TenantWrites

if TYPE_CHECKING:
    import sqlalchemy as sa

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.tenant_store import ApiKey

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ACTOR = "keys bootstrap"


def store_admin_key(settings: Settings, key: ApiKey, *, force: bool) -> None:
    """Stores an admin key, and its tenant if there is none.

    Unless `force`, raises ConfigError if there is a usable admin key. Raises StoreUnavailable.
    """
    tenant = key.tenant
    if not _NAME.fullmatch(tenant):
        raise ConfigError("tenant: must be 1 to 64 characters of A-Z a-z 0-9 . _ -")
    if any(tenant == static.name for static in settings.tenants):
        raise ConfigError(f"tenant: `{tenant}` is a tenant of the settings: name another one with --tenant")
    with (
        opened_database(settings, create=True) as database,
        translated("database of tenants"),
        database.begin() as connection,
    ):
        now_ns = time.time_ns()
        writes = TenantWrites(connection, _ACTOR, now_ns)
        if not force and (prefix := _admin_key(connection, now_ns)):
            raise ConfigError(
                f"keys: there is an admin key already, {prefix}…: use it, or make another one with --force"
            )
        if find_tenant(connection, tenant) is None:
            writes.create_tenant(Tenant(name=tenant))
        writes.create_key(key)


def _admin_key(connection: sa.Connection, now_ns: int) -> str:
    """Returns the prefix of an admin key that can be used; empty if there is none."""
    rows = connection.execute(api_keys.select().where(api_keys.c.revoke_time_ns.is_(None)))
    for key in map(key_of, rows):
        if Scope.ADMIN in key.scopes and key.is_usable(now_ns):
            return key.prefix
    return ""
