"""Checks of what settings add to the requests of an engine: query, headers, body fields, a proxy."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from tokengrpc.config.texts import check_texts
from tokengrpc.config.values import ConfigError
from tokengrpc.core.features import OWNED_ENGINE_PARAMS
from tokengrpc.engines.http.proxy import ALLOWED, DIRECT, Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Headers that frame the request or that the reading of the response depends on.
OWNED_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def check_query(query: Mapping[str, Any]) -> None:
    """Checks query parameters. Raises ConfigError."""
    check_texts("query", query)
    if "" in query:
        raise ConfigError("query: a parameter must have a name")


def check_headers(headers: Mapping[str, Any], key_header: str) -> None:
    """Checks headers; `key_header` has the API key, if any. Raises ConfigError without their texts."""
    check_texts("headers", headers)
    seen: set[str] = set()
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"headers: {name!r} is not the name of a header")
        lower = name.lower()
        if lower in OWNED_HEADERS:
            hint = "; use proxy" if lower.startswith("proxy") else ""
            raise ConfigError(f"headers.{name}: is set by tokengrpc; remove it{hint}")
        if lower == key_header.lower():
            raise ConfigError(f"headers.{name}: cannot be combined with api_key_env or api_key_file")
        if lower in seen:
            raise ConfigError(f"headers.{name}: occurs twice; names of headers have no case")
        seen.add(lower)
        if isinstance(value, str) and not is_header_text(value):
            raise ConfigError(f"headers.{name}: must be printable text on one line")


def is_header_text(text: str) -> bool:
    """Returns whether a text can be the value of a header."""
    return not any(ord(character) < 32 or ord(character) == 127 for character in text)


def check_body(body: Mapping[str, Any]) -> None:
    """Checks body fields. Raises ConfigError."""
    for name, value in body.items():
        if name in OWNED_ENGINE_PARAMS:
            raise ConfigError(f"body.{name}: is set from each request; remove it")
        if not _is_json(value):
            raise ConfigError(f"body.{name}: must be a JSON value: no date, time, nan or inf")


def _is_json(value: object) -> bool:
    match value:
        case dict():
            return all(isinstance(key, str) and _is_json(inner) for key, inner in value.items())
        case list() | tuple():
            return all(map(_is_json, value))
        case float():
            return math.isfinite(value)
        case _:
            return value is None or isinstance(value, str | int)


def check_proxy(proxy: str) -> None:
    """Checks the URL of a proxy. Raises ConfigError, which does not quote it."""
    if proxy in {"", DIRECT}:
        return
    try:
        Proxy.parse(proxy)
    except ValueError:
        raise ConfigError(f"proxy: {ALLOWED}, or {DIRECT}") from None
