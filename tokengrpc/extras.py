"""The extras of the package. Without one, `pip install tokengrpc` is the client alone."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, requires

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(\[(?P<extra>\w+)\])?(==(?P<version>[\w.]+))?[^;]*; extra == ['\"](?P<of>\w+)['\"]"
)


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
    return tuple(name for name, version in _packages(extra) if not _installed(name, version))


def _packages(extra: str) -> list[tuple[str, str]]:
    """Returns what an extra installs, without tokengrpc itself, and the version if only one fits."""
    try:
        lines = requires("tokengrpc") or []
    except PackageNotFoundError:  # run from its sources, without being installed
        return []
    packages: list[tuple[str, str]] = []
    for found in filter(None, map(_REQUIREMENT.fullmatch, lines)):
        if found["of"] == extra:
            inner = found["name"] == "tokengrpc"
            packages += _packages(found["extra"]) if inner else [(found["name"], found["version"] or "")]
    return packages


def _installed(name: str, version: str) -> bool:
    """Returns whether a package is installed, in this version unless it is empty."""
    try:
        installed = distribution(name).version
    except PackageNotFoundError:
        return False
    return version in {"", installed}
