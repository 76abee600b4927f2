"""The handlers of the AdminService: one short method per RPC."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from tokenstreaming.v1 import admin_service_pb2 as pb

from tokengrpc.core.ports.budget import KeepsBudgets
from tokengrpc.errors import StoreUnavailable, TenantExists, TenantNotFound
from tokengrpc.identity.api_keys import created_key
from tokengrpc.wire import admin_requests as asked
from tokengrpc.wire.admin import audit_entry_message, budget_status_message, key_message, tenant_message
from tokengrpc.wire.admin_tenants import MAX_FIELDS, changed_tenant, new_tenant
from tokengrpc.wire.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokengrpc.core.ports.budget import Budget
    from tokengrpc.core.tenant import Identity
    from tokengrpc.generations.patience import StorePatience
    from tokengrpc.identity.directory import TenantDirectory
    from tokengrpc.rpc.call import Handler, RpcCall

T = TypeVar("T")

SERVICE = pb.DESCRIPTOR.services_by_name["AdminService"]

log = structlog.get_logger(__name__)


class AdminServicer:
    """Handlers of the RPCs, which take and return encoded messages.

    A change counts on this server when its call returns, and on others with their next look at the audit.
    """

    def __init__(self, directory: TenantDirectory, budget: Budget, patience: StorePatience) -> None:
        self._directory = directory
        self._store = directory.store
        self._budget = budget
        self._patience = patience

    async def create_tenant(self, data: bytes, call: RpcCall) -> bytes:
        """Handles CreateTenant."""
        tenant = new_tenant(parse(pb.CreateTenantRequest, data, MAX_FIELDS))
        if self._directory.is_static(tenant.name):
            raise TenantExists(f"`{tenant.name}` is a tenant of the server's settings: choose another name")
        stored = await self._change(lambda: self._store.create_tenant(tenant, actor(call.identity)))
        return pb.CreateTenantResponse(tenant=tenant_message(stored)).SerializeToString()

    async def get_tenant(self, data: bytes, call: RpcCall) -> bytes:  # noqa: ARG002 - as handlers have it
        """Handles GetTenant."""
        name = parse(pb.GetTenantRequest, data).name
        stored = await self._once(lambda: self._store.find_tenant(name))
        if stored is None:
            raise self._unknown(name)
        response = pb.GetTenantResponse(tenant=tenant_message(stored))
        if isinstance(self._budget, KeepsBudgets) and stored.tenant.budgets:
            budget = self._budget
            statuses = await self._once(lambda: budget.statuses(stored.tenant))
            response.budget_statuses.extend(map(budget_status_message, statuses))
        return response.SerializeToString()

    async def list_tenants(self, data: bytes, call: RpcCall) -> bytes:  # noqa: ARG002 - as handlers have it
        """Handles ListTenants."""
        page = asked.tenant_page(parse(pb.ListTenantsRequest, data))
        # One more than the page has, which tells whether there is a next one.
        found = await self._once(lambda: self._store.list_tenants(page.after, page.size + 1))
        return pb.ListTenantsResponse(
            tenants=map(tenant_message, found[: page.size]),
            next_page_token=asked.next_token(found, page.size, asked.after_tenant),
        ).SerializeToString()

    async def update_tenant(self, data: bytes, call: RpcCall) -> bytes:
        """Handles UpdateTenant."""
        tenant, fields = changed_tenant(parse(pb.UpdateTenantRequest, data, MAX_FIELDS))
        self._check_not_static(tenant.name)
        stored = await self._change(lambda: self._store.update_tenant(tenant, fields, actor(call.identity)))
        return pb.UpdateTenantResponse(tenant=tenant_message(stored)).SerializeToString()

    async def delete_tenant(self, data: bytes, call: RpcCall) -> bytes:
        """Handles DeleteTenant."""
        name = parse(pb.DeleteTenantRequest, data).name
        await self._change(lambda: self._store.delete_tenant(name, actor(call.identity)))
        return pb.DeleteTenantResponse().SerializeToString()

    async def create_api_key(self, data: bytes, call: RpcCall) -> bytes:
        """Handles CreateApiKey."""
        now_ns = time.time_ns()
        wanted = asked.wanted_key(parse(pb.CreateApiKeyRequest, data), now_ns)
        self._check_not_static(wanted.tenant)
        key, secret = created_key(
            wanted.tenant,
            wanted.scopes,
            now_ns,
            display_name=wanted.display_name,
            expire_time_ns=wanted.expire_time_ns,
        )
        await self._change(lambda: self._store.create_key(key, actor(call.identity)))
        return pb.CreateApiKeyResponse(api_key=key_message(key), key=secret).SerializeToString()

    async def list_api_keys(self, data: bytes, call: RpcCall) -> bytes:  # noqa: ARG002 - as handlers have it
        """Handles ListApiKeys."""
        page = asked.key_page(parse(pb.ListApiKeysRequest, data))
        found = await self._once(
            lambda: self._store.list_keys(page.tenant, page.prefix, page.after, page.size + 1)
        )
        return pb.ListApiKeysResponse(
            api_keys=map(key_message, found[: page.size]),
            next_page_token=asked.next_token(found, page.size, lambda last: asked.after_key(last, page)),
        ).SerializeToString()

    async def revoke_api_key(self, data: bytes, call: RpcCall) -> bytes:
        """Handles RevokeApiKey."""
        key_id = parse(pb.RevokeApiKeyRequest, data).id
        key = await self._change(lambda: self._store.revoke_key(key_id, actor(call.identity)))
        return pb.RevokeApiKeyResponse(api_key=key_message(key)).SerializeToString()

    async def list_audit_entries(self, data: bytes, call: RpcCall) -> bytes:  # noqa: ARG002 - as handlers have it
        """Handles ListAuditEntries."""
        page = asked.audit_page(parse(pb.ListAuditEntriesRequest, data))
        found = await self._once(lambda: self._store.list_changes(page.tenant, page.before, page.size + 1))
        return pb.ListAuditEntriesResponse(
            audit_entries=map(audit_entry_message, found[: page.size]),
            next_page_token=asked.next_token(found, page.size, lambda last: asked.after_entry(last, page)),
        ).SerializeToString()

    @property
    def handlers(self) -> dict[str, Handler[Any]]:
        """The handlers by the name of the RPC."""
        return {
            "CreateTenant": self.create_tenant,
            "GetTenant": self.get_tenant,
            "ListTenants": self.list_tenants,
            "UpdateTenant": self.update_tenant,
            "DeleteTenant": self.delete_tenant,
            "CreateApiKey": self.create_api_key,
            "ListApiKeys": self.list_api_keys,
            "RevokeApiKey": self.revoke_api_key,
            "ListAuditEntries": self.list_audit_entries,
        }

    def _check_not_static(self, name: str) -> None:
        if self._directory.is_static(name):
            raise self._unknown(name)

    def _unknown(self, name: str) -> TenantNotFound:
        if self._directory.is_static(name):
            return TenantNotFound(f"`{name}` is a tenant of the server's settings: change it there")
        return TenantNotFound(f"there is no tenant `{name}`: list the tenants, or create it")

    async def _change(self, change: Callable[[], Awaitable[T]]) -> T:
        """Makes a change, and returns once it counts on this server."""
        result = await self._once(change)
        await self._patience.quietly(self._directory.refresh)
        return result

    async def _once(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._patience.once(work)
        except StoreUnavailable as error:
            log.warning("tenants could not be read or changed", cause=error.message)
            # The cause is for the log: it may have the database's address.
            raise StoreUnavailable(
                "the database of tenants did not answer, so a change may have been made or not: look, then "
                "try again"
            ) from error


def actor(identity: Identity) -> str:
    """Returns who makes a change, as the audit has it."""
    return f"{identity.tenant.name}/{identity.subject}" if identity.subject else identity.tenant.name
