"""Rates of tenants: requests and tokens in any minute, of all models and of single ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tokengrpc.errors import Limit, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.tenant import Tenant
    from tokengrpc.limits.request_windows import RequestWindows
    from tokengrpc.limits.token_windows import TokenWindows

WINDOW = 60
"""Seconds of a window."""

Kind = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limit of requests or tokens in a window; `model` is empty if it is for all models."""

    tenant: str
    kind: Kind
    model: str
    most: int

    @property
    def key(self) -> str:
        """Key of the window. Names may have slashes, but no blanks."""
        return f"{self.kind} {self.tenant} {self.model}"

    def refusal(self, wait: float) -> QuotaExceeded:
        """Returns the error of a request that fits into the window only after some seconds."""
        of_model = f" of model {self.model}" if self.model else ""
        return QuotaExceeded(
            f"tenant {self.tenant} has reached {self.kind}_per_minute{of_model}, which is {self.most}: try"
            f" again in {wait:.1f} s",
            metadata={"tenant": self.tenant, "limit": str(self.most)},
            limit=Limit(f"{self.kind}_per_minute", self.model),
            retry_after=wait,
        )


@dataclass(slots=True)
class TakenTokens:
    """Tokens that were counted in a second of a window."""

    key: str
    second: int
    amount: int


class Rates:
    """Windows of all tenants. `requests` makes their storage, when the first limit on requests is met."""

    def __init__(self, requests: Callable[[], RequestWindows], tokens: TokenWindows) -> None:
        self._make_requests = requests
        self._requests: RequestWindows | None = None
        self._tokens = tokens

    async def take(self, tenant: Tenant, model: str, tokens: int) -> Sequence[TakenTokens]:
        """Counts a request with its expected tokens in all windows of a tenant, or in none.

        Raises QuotaExceeded, with the time after which it fits into all of them.
        """
        taken: list[TakenTokens] = []
        waits: list[tuple[float, RateLimit]] = []
        try:
            for limit in limits_of(tenant, model, "tokens"):
                amount = min(tokens, limit.most)
                wait, second = await self._tokens.take(limit.key, limit.most, amount)
                if wait:
                    waits.append((wait, limit))
                else:
                    taken.append(TakenTokens(limit.key, second, amount))
            waits += await self._take_request(limits_of(tenant, model, "requests"), count=not waits)
        except BaseException:
            await self.settle(taken, 0)
            raise
        if waits:
            await self.settle(taken, 0)
            wait, limit = max(waits, key=lambda found: found[0])
            raise limit.refusal(wait)
        return taken

    async def settle(self, taken: Sequence[TakenTokens], used: int) -> None:
        """Corrects the count of expected tokens to what was used, at the time when they were expected."""
        for tokens in taken:
            if used != tokens.amount:
                await self._tokens.correct(tokens.key, tokens.second, used - tokens.amount)

    async def _take_request(
        self, limits: Sequence[RateLimit], *, count: bool
    ) -> Sequence[tuple[float, RateLimit]]:
        """Counts a request, unless a window is full. Returns the full ones, with the seconds to wait."""
        if not limits:
            return ()
        if self._requests is None:
            self._requests = self._make_requests()
        full = [(await self._requests.wait(limit.key, limit.most), limit) for limit in limits]
        full = [(wait, limit) for wait, limit in full if wait]
        for limit in limits if count and not full else ():
            if not await self._requests.take(limit.key, limit.most):
                full.append((await self._requests.wait(limit.key, limit.most) or 1.0, limit))
        return full


def limits_of(tenant: Tenant, model: str, kind: Kind) -> Sequence[RateLimit]:
    """Returns the limits of one kind that a request for a model has."""
    own = tenant.rates(model)
    both = (
        ("", tenant.requests_per_minute if kind == "requests" else tenant.tokens_per_minute),
        (model, own.requests_per_minute if kind == "requests" else own.tokens_per_minute),
    )
    return [RateLimit(tenant.name, kind, name, most) for name, most in both if most]
