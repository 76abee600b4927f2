"""The authenticators that the settings name, and the tenants that they look up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc import plugins
from tokengrpc.core.ports.auth import LooksUpKeys, LooksUpTenants, ReportsStores
from tokengrpc.core.ports.tenant_store import KeepsTenants
from tokengrpc.identity.chain import AuthenticatorChain
from tokengrpc.identity.directory import TenantDirectory
from tokengrpc.identity.tenants import SettingsTenants

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.auth import Authenticator
    from tokengrpc.core.ports.ledger import UsageLedger
    from tokengrpc.core.ports.observer import ObserverEvent


def create_authenticator(settings: Settings) -> Authenticator:
    """Creates the authenticator of the settings, or a chain of several. Raises ConfigError."""
    found: dict[str, Authenticator] = {
        name: plugins.create("authenticators", "authenticator", name, settings)
        for name in settings.authenticators
    }
    if len(found) == 1:
        return next(iter(found.values()))
    return AuthenticatorChain(found)


def create_directory(settings: Settings, ledger: UsageLedger) -> TenantDirectory | None:
    """Creates the directory of the tenants in the ledger's database. None if there are none to look up.

    Without another authenticator than `static`, nobody can be a tenant of the database. A server that is open
    to everybody must not let everybody administer it either.
    """
    if settings.authenticators == ("static",) or not isinstance(ledger, KeepsTenants):
        return None
    limits = settings.limits
    return TenantDirectory(
        SettingsTenants(settings),
        ledger.tenants,
        call_timeout=limits.store_timeout,
        outage_time=limits.tenant_outage_time,
        strict=settings.is_strict,
    )


def introduce(
    authenticator: Authenticator,
    directory: TenantDirectory | None,
    tenants: TenantDirectory | SettingsTenants,
    emit: Callable[[ObserverEvent], None],
) -> None:
    """Gives an authenticator what it looks up, and both what they tell observers by."""
    for each in (authenticator, directory):
        if isinstance(each, ReportsStores):
            each.report_to(emit)
    if isinstance(authenticator, LooksUpTenants):
        authenticator.use_tenants(tenants)
    if directory is not None and isinstance(authenticator, LooksUpKeys):
        authenticator.use_keys(directory)
