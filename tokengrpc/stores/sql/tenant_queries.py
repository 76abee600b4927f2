"""Queries of tenants, keys and the audit, each in a transaction that has begun."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from tokengrpc.core.ports.tenant_store import ApiKey, AuditEntry, KeyPlace, StoredTenant
from tokengrpc.core.tenant import Scope, Tenant
from tokengrpc.stores.sql.stored_text import storable
from tokengrpc.stores.sql.tenant_tables import api_keys, audit, tenants

if TYPE_CHECKING:
    from collections.abc import Sequence

_tenant_decoder = msgspec.json.Decoder(Tenant)


def find_tenant(connection: sa.Connection, name: str) -> StoredTenant | None:
    """See `TenantStore`."""
    row = connection.execute(tenants.select().where(tenants.c.name == storable(name))).one_or_none()
    return None if row is None else _stored(row)


def list_tenants(connection: sa.Connection, after: str, limit: int) -> Sequence[StoredTenant]:
    """See `TenantStore`. Names are ASCII, and ordered by their bytes whatever the database's collation is."""
    name = _by_bytes(connection, tenants.c.name)
    rows = connection.execute(tenants.select().where(name > storable(after)).order_by(name).limit(limit))
    return [_stored(row) for row in rows]


def find_key(connection: sa.Connection, key_id: str) -> ApiKey | None:
    """See `TenantStore`."""
    row = connection.execute(api_keys.select().where(api_keys.c.id == storable(key_id))).one_or_none()
    return None if row is None else key_of(row)


def list_keys(
    connection: sa.Connection, tenant: str, prefix: str, after: KeyPlace | None, limit: int
) -> Sequence[ApiKey]:
    """See `TenantStore`."""
    statement = api_keys.select()
    if tenant:
        statement = statement.where(api_keys.c.tenant == storable(tenant))
    if prefix:
        begins = api_keys.c.prefix == sa.func.substr(storable(prefix), 1, sa.func.length(api_keys.c.prefix))
        is_begun = sa.func.substr(api_keys.c.prefix, 1, len(prefix)) == storable(prefix)
        statement = statement.where(begins | is_begun)
    if after is not None:
        place = sa.tuple_(api_keys.c.create_time_ns, api_keys.c.id)
        statement = statement.where(place < sa.tuple_(*after))
    newest = (api_keys.c.create_time_ns.desc(), api_keys.c.id.desc())
    return [key_of(row) for row in connection.execute(statement.order_by(*newest).limit(limit))]


def usable_keys(connection: sa.Connection, after: str, limit: int) -> Sequence[ApiKey]:
    """See `TenantStore`."""
    expires = api_keys.c.expire_time_ns
    statement = api_keys.select().where(
        api_keys.c.id > after,
        api_keys.c.revoke_time_ns.is_(None),
        expires.is_(None) | (expires > time.time_ns()),
    )
    return [key_of(row) for row in connection.execute(statement.order_by(api_keys.c.id).limit(limit))]


def list_changes(
    connection: sa.Connection, tenant: str, before: int | None, limit: int
) -> Sequence[AuditEntry]:
    """See `TenantStore`."""
    statement = audit.select()
    if tenant:
        statement = statement.where(audit.c.tenant == storable(tenant))
    if before is not None:
        statement = statement.where(audit.c.sequence < before)
    return _entries(connection, statement.order_by(audit.c.sequence.desc()).limit(limit))


def changes_after(connection: sa.Connection, sequence: int, limit: int) -> Sequence[AuditEntry]:
    """See `TenantStore`."""
    statement = audit.select().where(audit.c.sequence > sequence)
    return _entries(connection, statement.order_by(audit.c.sequence).limit(limit))


def key_of(row: sa.Row[Any]) -> ApiKey:
    """Returns the key of a row of `api_keys`."""
    fields = {**row._mapping, "scopes": frozenset(map(Scope, row.scopes.split()))}  # noqa: SLF001 - its public name
    return ApiKey(**fields)


def _stored(row: sa.Row[Any]) -> StoredTenant:
    return StoredTenant(
        tenant=_tenant_decoder.decode(row.body),
        create_time_ns=row.create_time_ns,
        update_time_ns=row.update_time_ns,
    )


def _entries(connection: sa.Connection, statement: sa.Select[Any]) -> Sequence[AuditEntry]:
    return [AuditEntry(**row) for row in connection.execute(statement).mappings()]


def _by_bytes(connection: sa.Connection, column: sa.Column[str]) -> sa.ColumnElement[str]:
    return sa.collate(column, "C") if connection.dialect.name == "postgresql" else column
