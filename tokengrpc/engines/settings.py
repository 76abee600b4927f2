"""What all engines read of their settings: capabilities beyond the dialect's, and the table `options`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from tokengrpc.config import ConfigError
from tokengrpc.config.messages import Problem, convert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokengrpc.core.model import Capability

T = TypeVar("T", bound=msgspec.Struct)


class CapabilitySettings(Protocol):
    """What the settings say of a model that is not as its dialect."""

    @property
    def extra_capabilities(self) -> Sequence[Capability]:
        """What it can do beyond the dialect."""

    @property
    def missing_capabilities(self) -> Sequence[Capability]:
        """What it cannot."""


def additional(settings: CapabilitySettings) -> frozenset[Capability]:
    """What it can do beyond the dialect."""
    return frozenset(settings.extra_capabilities)


def adjusted(usual: frozenset[Capability], settings: CapabilitySettings) -> frozenset[Capability]:
    """What it can do at all."""
    return (usual | additional(settings)) - frozenset(settings.missing_capabilities)


def read_options(engine: str, options: Mapping[str, object], kind: type[T]) -> T:
    """The options as a struct. Raises ConfigError, one line for people."""
    try:
        return convert(dict(options), kind)
    except Problem as problem:
        raise ConfigError(f"engine {engine}: options.{problem}") from None
