"""Changes of tenants and keys, each with its entry of the audit, in a transaction that has begun."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from msgspec import structs

from tokengrpc.core.ports.tenant_store import ApiKey, StoredTenant
from tokengrpc.core.tenant_changes import change_of, describe_key, describe_tenant
from tokengrpc.errors import ApiKeyNotFound, TenantExists, TenantNotFound
from tokengrpc.stores.sql.stored_text import storable
from tokengrpc.stores.sql.tenant_queries import find_key, find_tenant
from tokengrpc.stores.sql.tenant_tables import api_keys, audit, audit_counter, tenants

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tokengrpc.core.tenant import Tenant

_encoder = msgspec.json.Encoder(order="deterministic")


class TenantWrites:
    """Changes that one actor makes in one transaction, at one time.

    The audit's counter is locked first. It orders the changes of all processes, so each of them sees what the
    one before it has committed.
    """

    def __init__(self, connection: sa.Connection, actor: str, now_ns: int) -> None:
        self._connection = connection
        self._actor = storable(actor)
        self._now = now_ns
        self._sequence: int = connection.execute(_LOCK).scalar_one()

    def create_tenant(self, tenant: Tenant) -> StoredTenant:
        """See `TenantStore`."""
        if find_tenant(self._connection, tenant.name) is not None:
            raise TenantExists(f"there is a tenant `{tenant.name}` already: choose another name")
        stored = StoredTenant(tenant=tenant, create_time_ns=self._now, update_time_ns=self._now)
        self._connection.execute(tenants.insert().values(name=tenant.name, **_row(stored)))
        self._note("CreateTenant", tenant.name, change_of({}, describe_tenant(tenant)))
        return stored

    def update_tenant(self, tenant: Tenant, fields: Collection[str]) -> StoredTenant:
        """See `TenantStore`."""
        before = self._tenant(tenant.name)
        new = dataclasses.replace(before.tenant, **{name: getattr(tenant, name) for name in fields})
        if new == before.tenant:
            return before
        stored = structs.replace(before, tenant=new, update_time_ns=self._now)
        self._connection.execute(tenants.update().where(tenants.c.name == new.name).values(**_row(stored)))
        change = change_of(describe_tenant(before.tenant), describe_tenant(new))
        self._note("UpdateTenant", new.name, change)
        return stored

    def delete_tenant(self, name: str) -> None:
        """See `TenantStore`."""
        before = self._tenant(name)
        self._connection.execute(tenants.delete().where(tenants.c.name == name))
        self._connection.execute(
            api_keys.update()
            .where(api_keys.c.tenant == name, api_keys.c.revoke_time_ns.is_(None))
            .values(revoke_time_ns=self._now)
        )
        self._note("DeleteTenant", name, change_of(describe_tenant(before.tenant), {}))

    def create_key(self, key: ApiKey) -> None:
        """See `TenantStore`."""
        self._tenant(key.tenant)
        row = {
            **structs.asdict(key),
            "display_name": storable(key.display_name),
            "scopes": " ".join(sorted(key.scopes)),
        }
        self._connection.execute(api_keys.insert().values(**row))
        self._note("CreateApiKey", key.tenant, change_of({}, describe_key(key)), key.id)

    def revoke_key(self, key_id: str) -> ApiKey:
        """See `TenantStore`."""
        key = find_key(self._connection, key_id)
        if key is None:
            raise ApiKeyNotFound(f"there is no key with the id `{key_id}`: list the keys to find it")
        if key.revoke_time_ns is not None:
            return key
        revoked = structs.replace(key, revoke_time_ns=self._now)
        self._connection.execute(
            api_keys.update().where(api_keys.c.id == key_id).values(revoke_time_ns=self._now)
        )
        change = change_of({}, {"prefix": key.prefix, "revoke_time_ns": self._now})
        self._note("RevokeApiKey", key.tenant, change, key_id)
        return revoked

    def _tenant(self, name: str) -> StoredTenant:
        found = find_tenant(self._connection, name)
        if found is None:
            raise TenantNotFound(f"there is no tenant `{name}`: list the tenants, or create it")
        return found

    def _note(self, action: str, tenant: str, change: str, key_id: str = "") -> None:
        self._sequence += 1
        self._connection.execute(
            audit.insert().values(
                sequence=self._sequence,
                time_ns=self._now,
                actor=self._actor,
                action=action,
                tenant=tenant,
                key_id=key_id,
                change=change,
            )
        )
        self._connection.execute(audit_counter.update().values(last_sequence=self._sequence))


def note_use(connection: sa.Connection, times_ns: Mapping[str, int]) -> None:
    """See `TenantStore`. In the order of the ids, so that two processes never wait for each other."""
    rows = [{"key": key, "time": time} for key, time in sorted(times_ns.items())]
    if rows:
        connection.execute(_NOTE_USE, rows)


def _row(stored: StoredTenant) -> dict[str, object]:
    return {
        "create_time_ns": stored.create_time_ns,
        "update_time_ns": stored.update_time_ns,
        "body": _encoder.encode(stored.tenant).decode(),
    }


_LOCK = sa.select(audit_counter.c.last_sequence).with_for_update()
_last_use = sa.func.coalesce(api_keys.c.last_use_time_ns, 0)
_NOTE_USE = (
    api_keys.update()
    .where(api_keys.c.id == sa.bindparam("key"), _last_use < sa.bindparam("time"))
    .values(last_use_time_ns=sa.bindparam("time"))
)
