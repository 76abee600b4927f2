"""The port of the store of tenants, their keys, and the audit of changes to both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import msgspec

from tokengrpc.core.tenant import Scope, Tenant

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class StoredTenant(msgspec.Struct, frozen=True, kw_only=True):
    """Tenant in the store. Times are in nanoseconds since the Unix epoch."""

    tenant: Tenant
    create_time_ns: int
    update_time_ns: int


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """Key of a tenant, without the key itself: `digest` is its SHA-256 in hexadecimal digits.

    `prefix` is the beginning of the key, by which people recognise it. Times are in nanoseconds since the
    Unix epoch; None means never, not yet, or not revoked. `last_use_time_ns` is exact to about a minute.
    """

    id: str
    tenant: str
    prefix: str
    digest: str
    scopes: frozenset[Scope]
    display_name: str = ""
    create_time_ns: int
    expire_time_ns: int | None = None
    last_use_time_ns: int | None = None
    revoke_time_ns: int | None = None

    def is_usable(self, now_ns: int) -> bool:
        """Returns whether the key is neither revoked nor expired."""
        return self.revoke_time_ns is None and (self.expire_time_ns is None or now_ns < self.expire_time_ns)


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a tenant, or of a key if `key_id` is set. Entries are numbered 1, 2, 3 and so on.

    `change` is JSON: an object with `old` and `new` for each field that changed.
    """

    sequence: int
    time_ns: int
    actor: str
    action: str
    tenant: str
    key_id: str = ""
    change: str = "{}"


class KeyPlace(NamedTuple):
    """Last key of a page, after which the next page begins."""

    create_time_ns: int
    id: str


class TenantStore(Protocol):
    """Tenants, their keys, and the audit. `start` and `close` are called once each.

    Each call may raise StoreUnavailable. When a change returns, it is durable together with its audit entry,
    and every replica sees it in `changes_after`. `actor` says who makes the change.
    """

    async def start(self) -> None:
        """Connects. Called before any other call, and again after it has raised StoreUnavailable."""

    async def close(self) -> None:
        """Releases everything."""

    async def create_tenant(self, tenant: Tenant, actor: str) -> StoredTenant:
        """Adds a tenant. Raises TenantExists."""

    async def find_tenant(self, name: str) -> StoredTenant | None:
        """Returns the tenant of a name, or None."""

    async def list_tenants(self, after: str, limit: int) -> Sequence[StoredTenant]:
        """Returns up to `limit` tenants, ordered by name, whose names come after the given one."""

    async def update_tenant(self, tenant: Tenant, fields: Collection[str], actor: str) -> StoredTenant:
        """Replaces the named fields of the tenant with this name. Without a difference, nothing changes.

        Returns the tenant as it is afterwards. Raises TenantNotFound.
        """

    async def delete_tenant(self, name: str, actor: str) -> None:
        """Deletes a tenant and revokes its keys. Raises TenantNotFound."""

    async def create_key(self, key: ApiKey, actor: str) -> None:
        """Adds a key. Raises TenantNotFound."""

    async def find_key(self, key_id: str) -> ApiKey | None:
        """Returns the key with an id, or None."""

    async def list_keys(
        self, tenant: str, prefix: str, after: KeyPlace | None, limit: int
    ) -> Sequence[ApiKey]:
        """Returns up to `limit` keys, newest first, after the given one.

        An empty `tenant` means all tenants. Keys match that begin with `prefix`, as far as their own
        prefixes tell.
        """

    async def usable_keys(self, after: str, limit: int) -> Sequence[ApiKey]:
        """Returns up to `limit` keys that are not revoked or expired, ordered by id, after an id."""

    async def revoke_key(self, key_id: str, actor: str) -> ApiKey:
        """Revokes a key. A key that was revoked before stays as it is. Raises ApiKeyNotFound."""

    async def note_use(self, times_ns: Mapping[str, int]) -> None:
        """Notes when keys were used last, by their ids. Earlier times than those noted change nothing."""

    async def list_changes(self, tenant: str, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """Returns up to `limit` entries, newest first, with smaller sequences than `before`.

        An empty `tenant` means all tenants.
        """

    async def changes_after(self, sequence: int, limit: int) -> Sequence[AuditEntry]:
        """Returns up to `limit` entries after a sequence, in order. None appears before an earlier one."""


@runtime_checkable
class KeepsTenants(Protocol):
    """Ledger whose database has tenants and keys as well."""

    @property
    def tenants(self) -> TenantStore:
        """The store. It may be started once the ledger was started."""
