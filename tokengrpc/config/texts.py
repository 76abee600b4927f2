"""Tables of texts that may be secrets. A text is given as it is, or in a variable or file."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from tokengrpc.config.values import ConfigError, read_source

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN = "***"

# Shorter plain texts, such as `true`, are words that a server's error message may contain by chance.
_SECRET_LENGTH = 8

_SECRET_NAME = re.compile(
    r"key|token|secret|passw|passphrase|pwd|credential|authorization|cookie", re.IGNORECASE
)
_URL_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_URL_SECRET = re.compile(rf"(?<=[?&])[^=&\s]*(?:{_SECRET_NAME.pattern})[^=&\s]*=[^&\s]*", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"""(?<![^\s;,])([\w.-]{{0,32}}(?:{_SECRET_NAME.pattern})[\w.-]{{0,32}}\s{{0,8}}=\s{{0,8}})"""
    r"""(?:'[^']*'|"[^"]*"|[^\s;,]+)""",
    re.IGNORECASE,
)
"""As in a connection string of `name=value` pairs."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ALLOWED = 'must be text, or a table with either env or file, such as { env = "PROVIDER_KEY" }'


def check_texts(key: str, table: Mapping[str, Any]) -> None:
    """Checks the table of a setting. Raises ConfigError, which never contains a text."""
    for name, value in table.items():
        if isinstance(value, str):
            continue
        if not isinstance(value, dict) or len(value) != 1:
            raise ConfigError(f"{key}.{name}: {_ALLOWED}")
        ((source, place),) = value.items()
        if source not in {"env", "file"} or not isinstance(place, str) or not place:
            raise ConfigError(f"{key}.{name}: {_ALLOWED}")
        if source == "env" and not _VARIABLE.fullmatch(place):
            raise ConfigError(
                f"{key}.{name}.env: must be the name of an environment variable (not the text itself)"
            )


def read_texts(
    where: str, table: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Returns the texts of a checked table. Raises ConfigError for a variable or file without a text."""
    return {
        name: value if isinstance(value, str) else _read(f"{where}.{name}", value, environ)
        for name, value in table.items()
    }


def _read(where: str, value: Mapping[str, str], environ: Mapping[str, str]) -> str:
    ((source, place),) = value.items()
    return read_source(f"{where}.{source}", source, place, environ)


def secret_texts(table: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """Returns the texts that must not be quoted: those of variables and files, and long plain ones."""
    return [
        text for name, text in texts.items() if isinstance(table[name], dict) or len(text) >= _SECRET_LENGTH
    ]


def named_variables(table: Mapping[str, Any]) -> frozenset[str]:
    """Returns the variables that contain texts of a checked table."""
    return frozenset(value["env"] for value in table.values() if isinstance(value, dict) and "env" in value)


def masked(table: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a table with the names of variables and files, and without texts."""
    return {name: HIDDEN if isinstance(value, str) else value for name, value in table.items()}


def without_secrets(value: object) -> object:
    """Returns a value without the text in it whose key looks like that of a secret, as plugins may have.

    Nor does it have what URLs and connection strings contain of users, passwords and other secrets.
    """
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(inner, str) and _SECRET_NAME.search(key) else without_secrets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, str):
        # As in the URL of a database.
        value = _URL_SECRET.sub(HIDDEN, _URL_USER.sub(f"{HIDDEN}@", value))
        return _ASSIGNED.sub(rf"\g<1>{HIDDEN}", value)
    return value
