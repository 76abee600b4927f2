"""The port of token budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokengrpc.core.model import Usage
    from tokengrpc.core.tenant import Identity


class Grant(Protocol):
    """Part of a budget that one generation may use."""

    def spend(self, usage: Usage) -> bool:
        """Takes the cumulative usage. Called once per read from the engine, so it must be fast.

        If it returns False, the generation ends with BUDGET_EXHAUSTED and keeps its partial output.
        """

    async def settle(self, usage: Usage) -> None:
        """Takes the final usage and returns the rest of the reservation. Called exactly once."""


class Budget(Protocol):
    """Reserves tokens before a generation starts. `start` and `close` are called once each."""

    async def start(self) -> None:
        """Connects."""

    async def close(self) -> None:
        """Releases everything."""

    async def reserve(self, identity: Identity, model: str, estimate: int) -> Grant:
        """Reserves `estimate` tokens, input and expected output together.

        Raises QuotaExceeded, BudgetExhausted, or StoreUnavailable if the budget cannot be read now.
        """
