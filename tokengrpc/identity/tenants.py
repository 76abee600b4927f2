"""The tenants of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.tenant import Tenant

if TYPE_CHECKING:
    from tokengrpc.config import Settings, TenantSettings


def tenant_of(settings: TenantSettings) -> Tenant:
    """Converts the settings of a tenant."""
    return Tenant(
        name=settings.name,
        models=frozenset(settings.models),
        admin=settings.admin,
        max_generations=settings.max_generations,
    )


class SettingsTenants:
    """Tenants of the settings, by name. See `TenantLookup`."""

    def __init__(self, settings: Settings) -> None:
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Takes the tenants of new settings, for the calls from now on."""
        self._tenants = {tenant.name: tenant_of(tenant) for tenant in settings.tenants}

    async def find_tenant(self, name: str) -> Tenant | None:
        """See `TenantLookup`."""
        return self._tenants.get(name)
