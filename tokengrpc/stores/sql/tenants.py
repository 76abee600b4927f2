"""The store of tenants, keys and the audit, in the ledger's database."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from tokengrpc.stores.sql import database, schema, tenant_queries, tenant_writes
from tokengrpc.stores.sql.tenant_writes import TenantWrites

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import sqlalchemy as sa

    from tokengrpc.core.ports.tenant_store import ApiKey, AuditEntry, KeyPlace, StoredTenant
    from tokengrpc.core.tenant import Tenant

T = TypeVar("T")

_STORE = "database of tenants"


class SqlTenantStore:
    """Store of tenants in SQLite or PostgreSQL. A call returns when its transaction has been committed.

    It has threads and connections of its own, so that it waits neither for the ledger's writer nor for slow
    queries of usage.
    """

    def __init__(self, engine: sa.Engine) -> None:
        """Takes the database, which it does not dispose of."""
        self._engine = engine
        self._threads = ThreadPoolExecutor(database.TENANT_CONNECTIONS, thread_name_prefix="tenants")

    async def start(self) -> None:
        """See `TenantStore`. Creates the tables, if the ledger has not done so."""
        await self._on_thread(self._migrate)

    async def close(self) -> None:
        """See `TenantStore`."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def create_tenant(self, tenant: Tenant, actor: str) -> StoredTenant:
        """See `TenantStore`."""
        return await self._write(actor, lambda writes: writes.create_tenant(tenant))

    async def find_tenant(self, name: str) -> StoredTenant | None:
        """See `TenantStore`."""
        return await self._read(lambda connection: tenant_queries.find_tenant(connection, name))

    async def list_tenants(self, after: str, limit: int) -> Sequence[StoredTenant]:
        """See `TenantStore`."""
        return await self._read(lambda connection: tenant_queries.list_tenants(connection, after, limit))

    async def update_tenant(self, tenant: Tenant, fields: Collection[str], actor: str) -> StoredTenant:
        """See `TenantStore`."""
        return await self._write(actor, lambda writes: writes.update_tenant(tenant, fields))

    async def delete_tenant(self, name: str, actor: str) -> None:
        """See `TenantStore`."""
        await self._write(actor, lambda writes: writes.delete_tenant(name))

    async def create_key(self, key: ApiKey, actor: str) -> None:
        """See `TenantStore`."""
        await self._write(actor, lambda writes: writes.create_key(key))

    async def find_key(self, key_id: str) -> ApiKey | None:
        """See `TenantStore`."""
        return await self._read(lambda connection: tenant_queries.find_key(connection, key_id))

    async def list_keys(
        self, tenant: str, prefix: str, after: KeyPlace | None, limit: int
    ) -> Sequence[ApiKey]:
        """See `TenantStore`."""
        return await self._read(
            lambda connection: tenant_queries.list_keys(connection, tenant, prefix, after, limit)
        )

    async def usable_keys(self, after: str, limit: int) -> Sequence[ApiKey]:
        """See `TenantStore`."""
        return await self._read(lambda connection: tenant_queries.usable_keys(connection, after, limit))

    async def revoke_key(self, key_id: str, actor: str) -> ApiKey:
        """See `TenantStore`."""
        return await self._write(actor, lambda writes: writes.revoke_key(key_id))

    async def note_use(self, times_ns: Mapping[str, int]) -> None:
        """See `TenantStore`."""

        def note() -> None:
            with database.translated(_STORE), self._engine.begin() as connection:
                tenant_writes.note_use(connection, times_ns)

        await self._on_thread(note)

    async def list_changes(self, tenant: str, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """See `TenantStore`."""
        return await self._read(
            lambda connection: tenant_queries.list_changes(connection, tenant, before, limit)
        )

    async def changes_after(self, sequence: int, limit: int) -> Sequence[AuditEntry]:
        """See `TenantStore`."""
        return await self._read(lambda connection: tenant_queries.changes_after(connection, sequence, limit))

    def _migrate(self) -> None:
        with database.translated(_STORE):
            schema.migrate(self._engine)

    async def _read(self, query: Callable[[sa.Connection], T]) -> T:
        def read() -> T:
            reader = self._engine.execution_options(reads=True)
            with database.translated(_STORE), reader.connect() as connection:
                return query(connection)

        return await self._on_thread(read)

    async def _write(self, actor: str, change: Callable[[TenantWrites], T]) -> T:
        def write() -> T:
            with database.translated(_STORE), self._engine.begin() as connection:
                return change(TenantWrites(connection, actor, time.time_ns()))

        return await self._on_thread(write)

    async def _on_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
