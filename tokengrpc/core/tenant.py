"""Tenants, what they may do, and identities of callers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from tokengrpc.errors import ModelNotAllowed


class Priority(IntEnum):
    """Order in which waiting requests are served: the smallest first."""

    INTERACTIVE = 1
    STANDARD = 2
    BATCH = 3


class Scope(StrEnum):
    """What a caller may do: run generations, read the tenant's usage, or administer."""

    GENERATE = "generate"
    READ_USAGE = "read_usage"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)
TENANT_SCOPES = frozenset({Scope.GENERATE, Scope.READ_USAGE})
"""What a tenant may do with its own generations and usage."""


class Period(StrEnum):
    """Period of a budget, in UTC."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRule:
    """How much a tenant may use in a period: tokens, or millionths of `currency` if that is set.

    A rule with a `model` is for that model alone. A rule with a `label_key` holds for each value of that
    label separately, and not for requests without it.
    """

    amount: int
    period: Period
    currency: str = ""
    model: str = ""
    label_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Limits on concurrent generations, and on requests and tokens in any minute. 0 does not limit."""

    max_generations: int = 0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0


NO_RATES = Rates()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Customer of the service. Empty `models` means all models; a limit of 0 does not limit.

    Credentials of an `admin` that have no scopes of their own may administer as well.
    `priority_ceiling` is the highest priority of its requests. `weight` is its share when tenants of one
    priority wait. `model_rates` limit single models in addition, by name.
    """

    name: str
    models: frozenset[str] = frozenset()
    admin: bool = False
    max_generations: int = 0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    max_output_token_count: int = 0
    priority_ceiling: Priority = Priority.INTERACTIVE
    weight: int = 1
    model_rates: tuple[tuple[str, Rates], ...] = ()
    budgets: tuple[BudgetRule, ...] = ()

    def rates(self, model: str) -> Rates:
        """Returns the limits for one model alone."""
        return next((rates for name, rates in self.model_rates if name == model), NO_RATES)

    def may_use(self, model: str) -> bool:
        """Returns whether the tenant may use a model."""
        return not self.models or model in self.models

    def check_may_use(self, model: str) -> None:
        """Raises ModelNotAllowed if the tenant may not use a model."""
        if not self.may_use(model):
            raise ModelNotAllowed(f"tenant {self.name} may not use model {model}: ask for another model")

    def priority(self, wanted: Priority) -> Priority:
        """Returns the priority of a request that asks for one: at most the ceiling."""
        return max(wanted, self.priority_ceiling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Authenticated caller; `subject` is its name within the tenant, such as that of a key or certificate.

    `scopes` are those of its credential. None is for credentials without scopes: all that the tenant may do.
    """

    tenant: Tenant
    subject: str = ""
    scopes: frozenset[Scope] | None = None

    def may(self, scope: Scope) -> bool:
        """Returns whether the caller may do something."""
        if self.scopes is not None:
            return scope in self.scopes
        return scope in (ALL_SCOPES if self.tenant.admin else TENANT_SCOPES)


NOBODY = Identity(tenant=Tenant(name=""), scopes=frozenset())
"""The identity of a call that has not been authenticated yet."""

ANYBODY = Identity(tenant=Tenant(name="default", admin=True))
"""The identity of every caller of a server that has no tenants."""
