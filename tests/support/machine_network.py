"""What a container needs to reach package registries in the way in which this machine does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PREFIXES: Final = ("PIP_",)
_NAMES: Final = ("http_proxy", "https_proxy", "no_proxy")
_FILES: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf")
_TRUSTED: Final = "/etc/ssl/certs/ca-certificates.crt"
# Elsewhere, because packages install a file of the usual name.
_TRUSTED_THERE: Final = "/run/trusted.crt"


def environment() -> dict[str, str]:
    """Returns the variables of pip and of proxies, with this machine's trusted certificates."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PREFIXES) or name.lower() in _NAMES
    }
    return kept | ({"PIP_CERT": _TRUSTED_THERE} if Path(_TRUSTED).exists() else {})


def volumes() -> list[tuple[str, str, bool]]:
    """Returns the files of this machine that name its resolver, its registries and whom it trusts."""
    places = {path: path for path in (*_FILES, os.environ.get("PIP_FIND_LINKS", "")) if path}
    places[os.environ.get("PIP_CERT", _TRUSTED)] = _TRUSTED_THERE
    return [(path, target, True) for path, target in places.items() if Path(path).exists()]
