"""Parsing of the table `options` of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from tokengrpc.config import ConfigError
from tokengrpc.config.messages import Problem, convert

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", bound=msgspec.Struct)


def read_options(engine: str, options: Mapping[str, object], kind: type[T]) -> T:
    """Converts the options to a struct. Raises ConfigError with one line."""
    try:
        return convert(dict(options), kind)
    except Problem as problem:
        raise ConfigError(f"engine {engine}: options.{problem}") from None
