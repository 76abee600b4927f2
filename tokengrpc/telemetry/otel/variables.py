"""Checks OpenTelemetry's variables of exporters before its SDK reads them, which logs wrong values whole."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tokengrpc.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

# Headers that the SDK takes, URL-encoded or not. It logs all others, and they may be keys.
_HEADER = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ -!#-+\--:<-\[\]-~]*")


def _is_endpoint(text: str) -> bool:
    """Returns whether a text is a URL of HTTP, or an address without a scheme, as gRPC takes it."""
    return "://" not in text or urlsplit(text).scheme in {"http", "https", "unix", "dns"}


def _are_headers(text: str) -> bool:
    return all(_HEADER.fullmatch(part) for part in map(str.strip, text.split(",")) if part)


def _is_duration(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _is_file(text: str) -> bool:
    return os.access(text, os.R_OK) and Path(text).is_file()


_FILE = (_is_file, "must be a file that can be read")
_RULES: dict[str, tuple[Callable[[str], bool], str]] = {
    "ENDPOINT": (_is_endpoint, "must begin with http:// or https://, such as http://collector:4317"),
    "HEADERS": (
        _are_headers,
        "must be NAME=VALUE, several with commas between them, and special characters URL-encoded",
    ),
    "TIMEOUT": (_is_duration, "must be a number of seconds above 0"),
    "CERTIFICATE": _FILE,
    "CLIENT_CERTIFICATE": _FILE,
    "CLIENT_KEY": _FILE,
}


def check_exporter(signal: str) -> None:
    """Checks the variables of the exporter of traces or metrics. Values are not shown: some are secrets.

    Raises ConfigError, which names the variable and what is allowed.
    """
    for name, (is_right, need) in _RULES.items():
        for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            value = os.environ.get(variable, "").strip()
            if value and not is_right(value):
                raise ConfigError(f"{variable}: {need}")
