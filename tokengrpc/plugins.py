"""Plugins: engines, stores, authenticators, budgets and observers, found by their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from tokengrpc.config import ConfigError
from tokengrpc.config.messages import listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

    from tokengrpc.config import Settings


def find(group: str, setting: str, name: str) -> EntryPoint:
    """Returns the entry point of a plugin, which a setting names.

    Raises ConfigError if no package provides the plugin, or several do.
    """
    found = entry_points(group=f"tokengrpc.{group}", name=name)
    if not found:
        raise ConfigError(f"{setting}: `{name}` is not installed; installed are: {_installed(group)}")
    if len(found) > 1:
        packages = listed(sorted(point.dist.name if point.dist else "unknown" for point in found))
        raise ConfigError(
            f"{setting}: `{name}` is provided by {len(found)} packages, {packages}; uninstall all but one"
        )
    (point,) = found
    return point


def create(group: str, setting: str, value: str, settings: Settings) -> Any:  # noqa: ANN401 - each group has its port
    """Creates the plugin that a setting names. The value is the name, or a URL whose scheme is the name.

    Calls the plugin's factory as `create(value, options, settings)`: the setting's value, the table
    `[plugins.NAME]`, and all settings. Raises ConfigError as `find` does.
    """
    name, colon, rest = value.partition(":")
    if colon and not rest.startswith("//") and not entry_points(group=f"tokengrpc.{group}", name=name):
        # Such as HOST:PORT. It is not repeated, because it may have a password.
        raise ConfigError(f"{setting}: a URL needs a scheme and ://; installed are: {_installed(group)}")
    options: Mapping[str, Any] = settings.plugins.get(name, {})
    return find(group, setting, name).load()(value, options, settings)


def _installed(group: str) -> str:
    return ", ".join(sorted(entry_points(group=f"tokengrpc.{group}").names))
