"""Tenants and identities of callers."""

from __future__ import annotations

from dataclasses import dataclass

from tokengrpc.errors import ModelNotAllowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Customer of the service. Empty `models` means all models, `max_generations` 0 no limit of its own."""

    name: str
    models: frozenset[str] = frozenset()
    admin: bool = False
    max_generations: int = 0

    def may_use(self, model: str) -> bool:
        """Returns whether the tenant may use a model."""
        return not self.models or model in self.models

    def check_may_use(self, model: str) -> None:
        """Raises ModelNotAllowed if the tenant may not use a model."""
        if not self.may_use(model):
            raise ModelNotAllowed(f"tenant {self.name} may not use model {model}: ask for another model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Authenticated caller; `subject` is its name within the tenant, such as that of a key or certificate."""

    tenant: Tenant
    subject: str = ""


NOBODY = Identity(tenant=Tenant(name=""))
"""The identity of a call that has not been authenticated yet."""

ANYBODY = Identity(tenant=Tenant(name="default", admin=True))
"""The identity of every caller of a server that has no tenants."""
