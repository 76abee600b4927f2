"""How plugins are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.plugins import install
from tokengrpc import plugins
from tokengrpc.config import ConfigError, Settings

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
def create(value, options, settings):
    return value, options
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which packages can be installed for this process."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_factory_gets_the_value_and_its_options(folder: Path) -> None:
    """The value may be a URL; the options are the table of the name."""
    install(folder, {"ledger_of_a.py": MODULE}, {"tokengrpc.ledgers": {"a": "ledger_of_a:create"}})
    settings = Settings(plugins={"a": {"pool": 3}})
    assert plugins.create("ledgers", "ledger", "a://host/db", settings) == ("a://host/db", {"pool": 3})


@pytest.mark.parametrize("group", ["ledgers", "engines"])
def test_a_name_of_two_packages_is_an_error_with_both(folder: Path, group: str) -> None:
    """One line that names the setting, the plugin and both packages, in the order of their names."""
    for package in ("zebra", "apple"):
        install(folder, {}, {f"tokengrpc.{group}": {"twice": "nowhere:create"}}, package=package)
    with pytest.raises(ConfigError) as caught:
        plugins.find(group, "the.setting", "twice")
    assert str(caught.value) == (
        "the.setting: `twice` is provided by 2 packages, apple and zebra; uninstall all but one"
    )


def test_a_name_that_is_not_installed_is_an_error() -> None:
    """The line lists the installed ones."""
    with pytest.raises(
        ConfigError, match=r"^ledger: `x` is not installed; installed are: memory, postgresql, sqlite$"
    ):
        plugins.find("ledgers", "ledger", "x")
