"""The tenants of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.tenant import Tenant

if TYPE_CHECKING:
    from collections.abc import Set

    from tokengrpc.config import Settings, TenantSettings


def tenant_of(settings: TenantSettings) -> Tenant:
    """Converts the settings of a tenant."""
    return Tenant(
        name=settings.name,
        models=frozenset(settings.models),
        admin=settings.admin,
        max_generations=settings.max_generations,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        max_output_token_count=settings.max_output_token_count,
        priority_ceiling=settings.ceiling,
        weight=settings.weight,
        model_rates=tuple((limit.model, limit.rates) for limit in settings.model_limits),
        budgets=tuple(budget.rule for budget in settings.budgets),
    )


class SettingsTenants:
    """Tenants of the settings, by name. See `TenantLookup`."""

    def __init__(self, settings: Settings) -> None:
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Takes the tenants of new settings, for the calls from now on."""
        self._tenants = {tenant.name: tenant_of(tenant) for tenant in settings.tenants}

    @property
    def names(self) -> Set[str]:
        """Names of the tenants."""
        return self._tenants.keys()

    def check(self, settings: Settings) -> None:
        """Does nothing: tenants of the settings were checked with the settings."""

    async def find_tenant(self, name: str) -> Tenant | None:
        """See `TenantLookup`."""
        return self._tenants.get(name)
