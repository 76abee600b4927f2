"""Admission control: limits on concurrent generations, for the server and for each tenant. No clock."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tokengrpc.errors import Overloaded, QuotaExceeded

if TYPE_CHECKING:
    from tokengrpc.core.tenant import Tenant


class Admission:
    """Counter of running generations, in total and by tenant."""

    def __init__(self, max_generations: int) -> None:
        self._max = max_generations
        self._by_tenant: Counter[str] = Counter()
        self.active = 0

    def admit(self, tenant: Tenant, model: str) -> Permit:
        """Returns a permit for one generation.

        Raises ModelNotAllowed, QuotaExceeded if the tenant is at its limit, Overloaded if the server is.
        """
        tenant.check_may_use(model)
        if tenant.max_generations and self._by_tenant[tenant.name] >= tenant.max_generations:
            raise QuotaExceeded(
                f"tenant {tenant.name} has {tenant.max_generations} running generations, its limit:"
                " wait for one to end",
                metadata={"tenant": tenant.name, "limit": str(tenant.max_generations)},
            )
        if self.active >= self._max:
            raise Overloaded(f"the server has {self._max} running generations, its limit: try again shortly")
        self.active += 1
        self._by_tenant[tenant.name] += 1
        return Permit(self, tenant.name)

    def release(self, tenant: str) -> None:
        """Frees the place of one generation. Called by its permit."""
        self.active -= 1
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]


class Permit:
    """Right to run one generation."""

    def __init__(self, admission: Admission, tenant: str) -> None:
        self._admission: Admission | None = admission
        self._tenant = tenant

    def release(self) -> None:
        """Returns the permit. Further calls have no effect."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.release(self._tenant)
