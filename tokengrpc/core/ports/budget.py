"""Budgets: how many tokens a caller may still use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokengrpc.core.model import Usage
    from tokengrpc.core.tenant import Identity


class Grant(Protocol):
    """The part of a budget that one generation may use."""

    def spend(self, usage: Usage) -> bool:
        """Takes the cumulative usage, once per read of the engine; must be fast.

        False ends the generation with BUDGET_EXHAUSTED, partial output included.
        """

    async def settle(self, usage: Usage) -> None:
        """Takes the final usage and gives back what was reserved beyond it. Called exactly once."""


class Budget(Protocol):
    """Reserves tokens before a generation starts. `start` and `close` are called once each."""

    async def start(self) -> None:
        """Connects."""

    async def close(self) -> None:
        """Releases everything."""

    async def reserve(self, identity: Identity, model: str, estimate: int) -> Grant:
        """Reserves `estimate` tokens, input and expected output together.

        Raises QuotaExceeded, BudgetExhausted, or StoreUnavailable when it cannot tell now.
        """
