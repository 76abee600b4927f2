"""The budget of a server without token limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.config import Settings
    from tokengrpc.core.model import Usage
    from tokengrpc.core.ports.budget import BudgetRequest
    from tokengrpc.errors import TokenGrpcError


class UnlimitedGrant:
    """Grant without a limit."""

    def spend(self, usage: Usage) -> bool:  # noqa: ARG002 - there is no limit
        """See `Grant`."""
        return True

    def refusal(self) -> TokenGrpcError:
        """See `Grant`."""
        raise NotImplementedError("there is no limit")

    async def settle(self, usage: Usage) -> None:
        """See `Grant`."""


class UnlimitedBudget:
    """Budget without a limit."""

    def __init__(self) -> None:
        self._grant = UnlimitedGrant()

    async def start(self) -> None:
        """See `Budget`."""

    async def close(self) -> None:
        """See `Budget`."""

    async def reserve(self, request: BudgetRequest) -> UnlimitedGrant:  # noqa: ARG002 - as above
        """See `Budget`."""
        return self._grant


def create(value: str, options: Mapping[str, Any], settings: Settings) -> UnlimitedBudget:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the budget `unlimited`."""
    return UnlimitedBudget()
