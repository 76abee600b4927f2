"""The budget of a server that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.config import Settings
    from tokengrpc.core.model import Usage
    from tokengrpc.core.tenant import Identity


class UnlimitedGrant:
    """Allows everything."""

    def spend(self, usage: Usage) -> bool:  # noqa: ARG002 - nothing is too much
        """As `Grant`."""
        return True

    async def settle(self, usage: Usage) -> None:
        """As `Grant`."""


class UnlimitedBudget:
    """Reserves nothing and refuses nothing."""

    def __init__(self) -> None:
        self._grant = UnlimitedGrant()

    async def start(self) -> None:
        """As `Budget`."""

    async def close(self) -> None:
        """As `Budget`."""

    async def reserve(self, identity: Identity, model: str, estimate: int) -> UnlimitedGrant:  # noqa: ARG002 - as above
        """As `Budget`."""
        return self._grant


def create(value: str, options: Mapping[str, Any], settings: Settings) -> UnlimitedBudget:  # noqa: ARG001 - all factories of plugins are called alike
    """Makes the budget `unlimited`."""
    return UnlimitedBudget()
