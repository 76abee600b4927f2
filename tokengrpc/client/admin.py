"""The AdminService, as `TokenStreamClient.admin` calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask
from tokenstreaming.v1 import admin_service_pb2 as pb

from tokengrpc.client.channel import CONTROL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from google.protobuf.timestamp_pb2 import Timestamp

    from tokengrpc.client.connection import Connection
    from tokengrpc.client.connections import Connections

_PAGE = 1000


class Admin:
    """Changes tenants, their limits and their keys, as an admin. `timeout` is in seconds for each call.

    All methods raise TokenStreamError.
    """

    def __init__(self, connections: Connections[Connection]) -> None:
        self._connections = connections

    async def create_tenant(self, tenant: pb.Tenant, *, timeout: float | None = CONTROL_TIMEOUT) -> pb.Tenant:
        """Creates a tenant."""
        request = pb.CreateTenantRequest(tenant=tenant)
        connection = self._connections.here()
        return (await connection.unary(connection.admin_stub.CreateTenant, request, timeout)).tenant

    async def get_tenant(self, name: str, *, timeout: float | None = CONTROL_TIMEOUT) -> pb.GetTenantResponse:
        """Returns a tenant, and how far its budgets are used."""
        request = pb.GetTenantRequest(name=name)
        connection = self._connections.here()
        return await connection.unary(connection.admin_stub.GetTenant, request, timeout)

    async def update_tenant(
        self, tenant: pb.Tenant, fields: Iterable[str], *, timeout: float | None = CONTROL_TIMEOUT
    ) -> pb.Tenant:
        """Changes the named fields of a tenant to those of `tenant`; `*` names all."""
        request = pb.UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=fields))
        connection = self._connections.here()
        return (await connection.unary(connection.admin_stub.UpdateTenant, request, timeout)).tenant

    async def delete_tenant(self, name: str, *, timeout: float | None = CONTROL_TIMEOUT) -> None:
        """Deletes a tenant, and revokes its keys."""
        request = pb.DeleteTenantRequest(name=name)
        connection = self._connections.here()
        await connection.unary(connection.admin_stub.DeleteTenant, request, timeout)

    async def create_key(
        self,
        tenant: str,
        *,
        display_name: str = "",
        scopes: Iterable[pb.Scope] = (),
        expire_time: Timestamp | None = None,
        timeout: float | None = CONTROL_TIMEOUT,
    ) -> pb.CreateApiKeyResponse:
        """Creates a key, which only the response has. Without `scopes`, it may generate and read usage."""
        request = pb.CreateApiKeyRequest(
            tenant=tenant, display_name=display_name, scopes=scopes, expire_time=expire_time
        )
        connection = self._connections.here()
        return await connection.unary(connection.admin_stub.CreateApiKey, request, timeout)

    async def revoke_key(self, key_id: str, *, timeout: float | None = CONTROL_TIMEOUT) -> pb.ApiKey:
        """Revokes a key."""
        request = pb.RevokeApiKeyRequest(id=key_id)
        connection = self._connections.here()
        return (await connection.unary(connection.admin_stub.RevokeApiKey, request, timeout)).api_key

    async def tenants(self, *, timeout: float | None = CONTROL_TIMEOUT) -> AsyncIterator[pb.Tenant]:
        """Yields tenants by name. Pages are read as they are needed."""
        request = pb.ListTenantsRequest(page_size=_PAGE)
        while True:
            connection = self._connections.here()
            page = await connection.unary(connection.admin_stub.ListTenants, request, timeout)
            for item in page.tenants:
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def keys(
        self, *, tenant: str = "", prefix: str = "", timeout: float | None = CONTROL_TIMEOUT
    ) -> AsyncIterator[pb.ApiKey]:
        """Yields keys, newest first, without the keys themselves."""
        request = pb.ListApiKeysRequest(tenant=tenant, prefix=prefix, page_size=_PAGE)
        while True:
            connection = self._connections.here()
            page = await connection.unary(connection.admin_stub.ListApiKeys, request, timeout)
            for item in page.api_keys:
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def audit(
        self, *, tenant: str = "", timeout: float | None = CONTROL_TIMEOUT
    ) -> AsyncIterator[pb.AuditEntry]:
        """Yields changes of tenants and keys, newest first."""
        request = pb.ListAuditEntriesRequest(tenant=tenant, page_size=_PAGE)
        while True:
            connection = self._connections.here()
            page = await connection.unary(connection.admin_stub.ListAuditEntries, request, timeout)
            for item in page.audit_entries:
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
