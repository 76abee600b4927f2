"""An engine's own settings: the table `options`, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from tokengrpc.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", bound=msgspec.Struct)


def read_options(engine: str, options: Mapping[str, object], kind: type[T]) -> T:
    """The options as a struct. Raises ConfigError, one line for people."""
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as error:
        allowed = ", ".join(kind.__struct_fields__)
        raise ConfigError(f"options of engine {engine}: {error}; allowed are {allowed}") from None
