"""What an engine can do, as its settings correct what its dialect says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.model import Capability


class Settings(Protocol):
    """What the settings say of a model that is not as its dialect."""

    @property
    def extra_capabilities(self) -> Sequence[Capability]:
        """What it can do beyond the dialect."""

    @property
    def missing_capabilities(self) -> Sequence[Capability]:
        """What it cannot."""


def additional(settings: Settings) -> frozenset[Capability]:
    """What it can do beyond the dialect."""
    return frozenset(settings.extra_capabilities)


def adjusted(usual: frozenset[Capability], settings: Settings) -> frozenset[Capability]:
    """What it can do at all."""
    return (usual | additional(settings)) - frozenset(settings.missing_capabilities)
