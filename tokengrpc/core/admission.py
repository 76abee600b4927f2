"""Admission control: limits on concurrent generations of tenants, of their models, and of the server."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from tokengrpc.core.capacity import Capacity
from tokengrpc.errors import Limit, QuotaExceeded

if TYPE_CHECKING:
    from tokengrpc.core.tenant import Tenant
    from tokengrpc.errors import Overloaded

K = TypeVar("K")


class Admission:
    """Counter of running generations, in total, by tenant and model, and of all that were admitted."""

    def __init__(self, max_generations: int, capacity: Capacity | None = None) -> None:
        self.max_generations = max_generations
        self.capacity = capacity or Capacity()
        self._by_tenant: Counter[str] = Counter()
        self._by_model: Counter[tuple[str, str]] = Counter()
        self.active = 0
        self.admitted = 0

    @property
    def utilization(self) -> float:
        """What runs as a fraction of what fits: of the limit of generations, or of the process's capacity."""
        return max(self.active / self.max_generations, self.capacity.utilization)

    def admit(self, tenant: Tenant, model: str = "", *, queued: bool = False) -> Permit:
        """Returns a permit for one generation, which `check` has just allowed."""
        self.active += 1
        self.admitted += 1
        self._by_tenant[tenant.name] += 1
        self._by_model[tenant.name, model] += 1
        return Permit(self, tenant.name, model, queued=queued)

    def check(self, tenant: Tenant, model: str, *, queued: bool = False) -> None:
        """Raises an error if this tenant could not start a generation now.

        `queued` says that the generation would have to wait for an engine, and has no output until then.
        ModelNotAllowed, QuotaExceeded if the tenant is at its limit, Overloaded if the server is.
        """
        tenant.check_may_use(model)
        limit = tenant.max_generations
        if limit and self._by_tenant[tenant.name] >= limit:
            raise _at_limit(tenant.name, "", limit)
        limit = tenant.rates(model).max_generations if tenant.model_rates else 0
        if limit and self._by_model[tenant.name, model] >= limit:
            raise _at_limit(tenant.name, model, limit)
        if self.active >= self.max_generations:
            why = f"it has {self.max_generations} running generations, its limit"
            raise self.capacity.rejection("generations", why, self.active)
        self.capacity.check(self.active, queued=queued)

    def rejection(self, cause: str, why: str) -> Overloaded:
        """Returns the error for a generation that something else than the process itself has no room for."""
        return self.capacity.rejection(cause, why, self.active)

    def release(self, tenant: str, model: str) -> None:
        """Frees the place of one generation. Called by its permit."""
        self.active -= 1
        _decrement(self._by_tenant, tenant)
        _decrement(self._by_model, (tenant, model))


def _decrement(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _at_limit(tenant: str, model: str, limit: int) -> QuotaExceeded:
    of_model = f" of model {model}" if model else ""
    return QuotaExceeded(
        f"tenant {tenant} has {limit} running generations{of_model}, its limit: wait for one to end",
        metadata={"tenant": tenant, "limit": str(limit)},
        limit=Limit("max_generations", model),
    )


class Permit:
    """Right to run one generation. Notes how far it is, because only output costs much."""

    def __init__(self, admission: Admission, tenant: str, model: str, *, queued: bool) -> None:
        self._admission: Admission | None = admission
        self._tenant = tenant
        self._model = model
        self._capacity = admission.capacity
        self._share = admission.capacity.admitted(queued=queued)
        self.output = admission.capacity.output
        """Notes a number of events of further output."""

    def queued(self) -> None:
        """Notes that the generation waits for an engine."""
        self._share.queued()

    def called(self) -> None:
        """Notes that an engine is called."""
        self._share.called()

    def output_started(self) -> None:
        """Notes that the generation has output."""
        self._share.output_started()

    def rejection(self, cause: str, why: str, delay: float) -> Overloaded:
        """Returns the error if the generation cannot run after all, with a delay for its caller."""
        return self._capacity.rejection(cause, why, 0, delay)

    def release(self) -> None:
        """Returns the permit. Further calls have no effect."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.release(self._tenant, self._model)
            self._share.ended()
