"""Admission control: limits on concurrent generations, for each tenant, the server and its capacity."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tokengrpc.core.capacity import Capacity
from tokengrpc.errors import QuotaExceeded

if TYPE_CHECKING:
    from tokengrpc.core.tenant import Tenant


class Admission:
    """Counter of running generations, in total and by tenant, and of all that were admitted."""

    def __init__(self, max_generations: int, capacity: Capacity | None = None) -> None:
        self.max_generations = max_generations
        self.capacity = capacity or Capacity()
        self._by_tenant: Counter[str] = Counter()
        self.active = 0
        self.admitted = 0

    @property
    def utilization(self) -> float:
        """What runs as a fraction of what fits: of the limit of generations, or of the process's capacity."""
        return max(self.active / self.max_generations, self.capacity.utilization)

    def admit(self, tenant: Tenant, *, queued: bool = False) -> Permit:
        """Returns a permit for one generation, which `check` has just allowed."""
        self.active += 1
        self.admitted += 1
        self._by_tenant[tenant.name] += 1
        return Permit(self, tenant.name, queued=queued)

    def check(self, tenant: Tenant, model: str, *, queued: bool = False) -> None:
        """Raises an error if this tenant could not start a generation now.

        `queued` says that the generation would have to wait for an engine, and has no output until then.
        ModelNotAllowed, QuotaExceeded if the tenant is at its limit, Overloaded if the server is.
        """
        tenant.check_may_use(model)
        if tenant.max_generations and self._by_tenant[tenant.name] >= tenant.max_generations:
            raise QuotaExceeded(
                f"tenant {tenant.name} has {tenant.max_generations} running generations, its limit:"
                " wait for one to end",
                metadata={"tenant": tenant.name, "limit": str(tenant.max_generations)},
            )
        if self.active >= self.max_generations:
            why = f"it has {self.max_generations} running generations, its limit"
            raise self.capacity.rejection("generations", why, self.active)
        self.capacity.check(self.active, queued=queued)

    def release(self, tenant: str) -> None:
        """Frees the place of one generation. Called by its permit."""
        self.active -= 1
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]


class Permit:
    """Right to run one generation. Notes how far it is, because only output costs much."""

    def __init__(self, admission: Admission, tenant: str, *, queued: bool) -> None:
        self._admission: Admission | None = admission
        self._tenant = tenant
        self._share = admission.capacity.admitted(queued=queued)

    def queued(self) -> None:
        """Notes that the generation waits for an engine."""
        self._share.queued()

    def called(self) -> None:
        """Notes that an engine is called."""
        self._share.called()

    def output_started(self) -> None:
        """Notes that the generation has output."""
        self._share.output_started()

    def release(self) -> None:
        """Returns the permit. Further calls have no effect."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.release(self._tenant)
            self._share.ended()
