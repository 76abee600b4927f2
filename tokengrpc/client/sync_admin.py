"""The AdminService, as `SyncTokenStreamClient.admin` calls it, like `admin.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask
from tokenstreaming.v1 import admin_service_pb2 as pb

from tokengrpc.client.channel import CONTROL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.timestamp_pb2 import Timestamp

    from tokengrpc.client.connections import Connections
    from tokengrpc.client.sync_connection import SyncConnection

_PAGE = 1000


class SyncAdmin:
    """Changes tenants, their limits and their keys, as an admin. `timeout` is in seconds for each call.

    All methods raise TokenStreamError.
    """

    def __init__(self, connections: Connections[SyncConnection]) -> None:
        self._connections = connections

    def create_tenant(self, tenant: pb.Tenant, *, timeout: float | None = CONTROL_TIMEOUT) -> pb.Tenant:
        """Creates a tenant."""
        request = pb.CreateTenantRequest(tenant=tenant)
        connection = self._connections.here()
        return connection.unary(connection.admin_stub.CreateTenant, request, timeout).tenant

    def get_tenant(self, name: str, *, timeout: float | None = CONTROL_TIMEOUT) -> pb.GetTenantResponse:
        """Returns a tenant, and how far its budgets are used."""
        request = pb.GetTenantRequest(name=name)
        connection = self._connections.here()
        return connection.unary(connection.admin_stub.GetTenant, request, timeout)

    def update_tenant(
        self, tenant: pb.Tenant, fields: Iterable[str], *, timeout: float | None = CONTROL_TIMEOUT
    ) -> pb.Tenant:
        """Changes the named fields of a tenant to those of `tenant`; `*` names all."""
        request = pb.UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=fields))
        connection = self._connections.here()
        return connection.unary(connection.admin_stub.UpdateTenant, request, timeout).tenant

    def delete_tenant(self, name: str, *, timeout: float | None = CONTROL_TIMEOUT) -> None:
        """Deletes a tenant, and revokes its keys."""
        request = pb.DeleteTenantRequest(name=name)
        connection = self._connections.here()
        connection.unary(connection.admin_stub.DeleteTenant, request, timeout)

    def create_key(
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
        return connection.unary(connection.admin_stub.CreateApiKey, request, timeout)

    def revoke_key(self, key_id: str, *, timeout: float | None = CONTROL_TIMEOUT) -> pb.ApiKey:
        """Revokes a key."""
        request = pb.RevokeApiKeyRequest(id=key_id)
        connection = self._connections.here()
        return connection.unary(connection.admin_stub.RevokeApiKey, request, timeout).api_key

    def tenants(self, *, timeout: float | None = CONTROL_TIMEOUT) -> Iterator[pb.Tenant]:
        """Yields tenants by name. Pages are read as they are needed."""
        request = pb.ListTenantsRequest(page_size=_PAGE)
        while True:
            connection = self._connections.here()
            page = connection.unary(connection.admin_stub.ListTenants, request, timeout)
            yield from page.tenants
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def keys(
        self, *, tenant: str = "", prefix: str = "", timeout: float | None = CONTROL_TIMEOUT
    ) -> Iterator[pb.ApiKey]:
        """Yields keys, newest first, without the keys themselves."""
        request = pb.ListApiKeysRequest(tenant=tenant, prefix=prefix, page_size=_PAGE)
        while True:
            connection = self._connections.here()
            page = connection.unary(connection.admin_stub.ListApiKeys, request, timeout)
            yield from page.api_keys
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def audit(self, *, tenant: str = "", timeout: float | None = CONTROL_TIMEOUT) -> Iterator[pb.AuditEntry]:
        """Yields changes of tenants and keys, newest first."""
        request = pb.ListAuditEntriesRequest(tenant=tenant, page_size=_PAGE)
        while True:
            connection = self._connections.here()
            page = connection.unary(connection.admin_stub.ListAuditEntries, request, timeout)
            yield from page.audit_entries
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
