"""Plugins: engines, stores, authenticators, budgets and observers, found by their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from tokengrpc.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.config import Settings


def create(group: str, setting: str, value: str, settings: Settings) -> Any:  # noqa: ANN401 - each group has its port
    """Creates the plugin that a setting names. The value is the name, or a URL whose scheme is the name.

    Calls the plugin's factory as `create(value, options, settings)`: the setting's value, the table
    `[plugins.NAME]`, and all settings. Raises ConfigError if the plugin is not installed.
    """
    name = value.partition(":")[0]
    found = entry_points(group=f"tokengrpc.{group}", name=name)
    if not found:
        installed = ", ".join(sorted(entry_points(group=f"tokengrpc.{group}").names))
        raise ConfigError(f"{setting}: `{name}` is not installed; installed are: {installed}")
    (factory,) = found
    options: Mapping[str, Any] = settings.plugins.get(name, {})
    return factory.load()(value, options, settings)
