"""Types of single settings, reading of secrets, and the error for invalid settings."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from tokengrpc.config.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~:/-]{1,128}\Z")]
NameOrNone = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~:/-]{0,128}\Z")]
Variable = Annotated[str, Meta(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?\Z")]
Address = Annotated[str, Meta(pattern=r"^(unix:/\S+|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5})\Z")]
HostPortOrNone = Annotated[str, Meta(pattern=r"^((\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5})?\Z")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
SecondsOrNone = Annotated[float, Meta(ge=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 40)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
CountOrNone = Annotated[int, Meta(ge=0, le=1_000_000_000)]
AmountOrNone = Annotated[int, Meta(ge=0, le=1 << 53)]
Weight = Annotated[int, Meta(ge=1, le=1000)]
Amount = Annotated[str, Meta(pattern=r"^([0-9]{1,9}(\.[0-9]{1,6})?)?\Z")]
Rate = Annotated[str, Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?\Z")]
RateOrNone = Annotated[str, Meta(pattern=r"^([0-9]{1,6}(\.[0-9]{1,6})?)?\Z")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
CurrencyOrNone = Annotated[str, Meta(pattern=r"^([A-Z]{3})?\Z")]
StartOrNone = Annotated[str, Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?)?\Z")]

FLAG: dict[str, Any] = {"flag": True}
"""Marks a setting of a model that has a variable and a flag."""

# Descriptions of the patterns for error messages.
PATTERNS = {
    r"^((\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5})?\Z": (
        "HOST:PORT, such as 127.0.0.1:9090 or [::]:9090, or empty"
    ),
    r"^[A-Za-z0-9._~:/-]{1,128}\Z": "1 to 128 characters of A-Z a-z 0-9 . _ ~ : / -",
    r"^[A-Za-z0-9._~:/-]{0,128}\Z": "at most 128 characters of A-Z a-z 0-9 . _ ~ : / -",
    r"^([A-Za-z_][A-Za-z0-9_]*)?\Z": "the name of an environment variable (not the key itself)",
    r"^(unix:/\S+|(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5})\Z": (
        "HOST:PORT, such as 127.0.0.1:50051 or [::]:50051, or unix:/PATH"
    ),
    r"^[0-9]{1,6}(\.[0-9]{1,6})?\Z": 'a decimal number in quotes, such as "0.15", with at most 6 decimals',
    r"^([0-9]{1,6}(\.[0-9]{1,6})?)?\Z": (
        'a decimal number in quotes, such as "0.15", with at most 6 decimals, or empty'
    ),
    r"^([0-9]{1,9}(\.[0-9]{1,6})?)?\Z": (
        'a decimal number in quotes, such as "250.00", with at most 6 decimals, or empty'
    ),
    r"^([A-Z]{3})?\Z": "three capital letters, such as USD, or empty",
    r"^[A-Z]{3}\Z": "three capital letters, such as USD",
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?)?\Z": (
        'a date or time in UTC, in quotes, such as "2026-01-01" or "2026-01-01T12:00:00Z", or empty'
    ),
}


CHOICES: dict[str, tuple[str, ...]] = {}
"""The words that each pattern of `one_of` allows."""


def one_of(words: Iterable[str]) -> str:
    """Returns a pattern that allows only these words, for settings whose values another table defines."""
    choices = tuple(sorted(words))
    pattern = rf"^({'|'.join(map(re.escape, choices))})\Z"
    PATTERNS[pattern] = f"one of {', '.join(choices)}"
    CHOICES[pattern] = choices
    return pattern


class ConfigError(ValueError):
    """Invalid setting. The message is one line; in checks of the schema, it starts with the key."""


def is_loopback(host: str) -> bool:
    """Returns whether a host is `localhost` or a loopback address. Other names are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_secret(key: str, variable: str, file: str, environ: Mapping[str, str]) -> str | None:
    """Reads a secret from a variable or a file, whichever is given; None if neither is.

    Raises ConfigError with the name of the variable or file if it is missing or empty.
    """
    if variable:
        return read_source(f"{key}_env", "env", variable, environ)
    if file:
        return read_source(f"{key}_file", "file", file, environ)
    return None


def read_source(where: str, source: str, place: str, environ: Mapping[str, str]) -> str:
    """Reads a text from an environment variable (`source` is env) or from a file.

    White space around it is removed. Raises ConfigError, which starts with `where`, if there is none.
    """
    if source == "env":
        text = environ.get(place, "").strip()
        where = f"{where}: the environment variable {place}"
    else:
        where = f"{where}: the file {place}"
        try:
            text = read_bounded(Path(place)).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"{where} cannot be read: {reason}") from None
    if not text:
        raise ConfigError(f"{where} is not set or is empty")
    return text


def check_different(key: str, names: Sequence[str]) -> None:
    """Raises ConfigError if a name occurs twice in the list of tables at `key`."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(f"{key}[{index}].name: `{name}` is used already; names must be unique")
