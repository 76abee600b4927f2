"""Reads the table `options` of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from tokengrpc.config import ConfigError
from tokengrpc.config.messages import Problem, convert

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", bound=msgspec.Struct)


def read_options(engine: str, options: Mapping[str, object], kind: type[T]) -> T:
    """The options as a struct. Raises ConfigError, one line for people."""
    try:
        return convert(dict(options), kind)
    except Problem as problem:
        raise ConfigError(f"engine {engine}: options.{problem}") from None
