"""The extras of the package. Without one, `pip install tokengrpc` is the client alone."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, requires

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extra>\w+)\])?[^;]*; extra == ['\"](?P<of>\w+)['\"]")


class MissingExtraError(ImportError):
    """A package is missing that an extra would have installed. The message is one line."""


def require(extra: str, what: str) -> None:
    """Raises MissingExtraError if a package of the extra is missing; `what` needs it.

    Packages that only some platforms need are not checked.
    """
    if missing := _missing(extra):
        raise MissingExtraError(f"{what} needs {', '.join(missing)}: pip install 'tokengrpc[{extra}]'")


@cache
def _missing(extra: str) -> tuple[str, ...]:
    """Returns the packages of an extra that are not installed, looked up once: each is read from disk."""
    return tuple(name for name in _packages(extra) if not _installed(name))


def _packages(extra: str) -> list[str]:
    """Returns the packages that an extra installs, without those of tokengrpc itself."""
    try:
        lines = requires("tokengrpc") or []
    except PackageNotFoundError:  # run from its sources, without being installed
        return []
    packages: list[str] = []
    for found in filter(None, map(_REQUIREMENT.fullmatch, lines)):
        if found["of"] == extra:
            packages += _packages(found["extra"]) if found["name"] == "tokengrpc" else [found["name"]]
    return packages


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
