"""What a replica knows of the database: all tenants, and all keys that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokengrpc.core.ports.tenant_store import ApiKey, AuditEntry, TenantStore
    from tokengrpc.core.tenant import Tenant

PAGE = 1000
"""Rows that are read at once."""


class KnownTenants:
    """Copy of the tenants and usable keys of a store, as of a sequence of its audit.

    A key takes less than 1 KiB.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.tenants: dict[str, Tenant] = {}
        self.keys: dict[str, ApiKey] = {}
        self._digests: dict[str, str] = {}

    async def load(self, store: TenantStore) -> None:
        """Reads everything. What changes meanwhile is read again by `follow`."""
        latest = await store.list_changes("", None, 1)
        self.sequence = latest[0].sequence if latest else 0
        name = ""
        while page := await store.list_tenants(name, PAGE):
            self.tenants |= {stored.tenant.name: stored.tenant for stored in page}
            name = page[-1].tenant.name
        key_id = ""
        while keys := await store.usable_keys(key_id, PAGE):
            for key in keys:
                self._put(key)
            key_id = keys[-1].id

    async def follow(self, store: TenantStore) -> None:
        """Reads what has changed since. If that fails, the next call begins where this one did."""
        while changes := await store.changes_after(self.sequence, PAGE):
            tenants = {name: await store.find_tenant(name) for name in {change.tenant for change in changes}}
            ids = {change.key_id for change in changes if change.key_id}
            keys = {key_id: await store.find_key(key_id) for key_id in ids}
            self._drop_keys_of(change for change in changes if change.action == "DeleteTenant")
            for name, stored in tenants.items():
                if stored is None:
                    self.tenants.pop(name, None)
                else:
                    self.tenants[name] = stored.tenant
            for key_id, key in keys.items():
                self._drop(key_id)
                if key is not None and key.revoke_time_ns is None:
                    self._put(key)
            self.sequence = changes[-1].sequence

    def drop_expired(self, now_ns: int) -> None:
        """Forgets keys that have expired."""
        for key in [key for key in self.keys.values() if not key.is_usable(now_ns)]:
            self._drop(key.id)

    def _drop_keys_of(self, deletions: Iterable[AuditEntry]) -> None:
        """Forgets the keys of deleted tenants, also if there are new tenants of these names."""
        deleted = {change.tenant for change in deletions}
        if deleted:
            for key in [key for key in self.keys.values() if key.tenant in deleted]:
                self._drop(key.id)

    def _put(self, key: ApiKey) -> None:
        self.keys[key.digest] = key
        self._digests[key.id] = key.digest

    def _drop(self, key_id: str) -> None:
        digest = self._digests.pop(key_id, None)
        if digest is not None:
            del self.keys[digest]
