"""The setting `ledger`, where it names a database that cannot be used."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tokengrpc.config import ConfigError, Settings
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.sql.ledger import FILE, create_postgresql, create_sqlite

if TYPE_CHECKING:
    from pathlib import Path

NO_URL = "ledger: not a URL such as postgresql://USER@HOST/DATABASE"


@pytest.mark.parametrize(
    ("create", "value", "message"),
    [
        (create_sqlite, "sqlite", "ledger: `sqlite` needs data_dir"),
        (create_sqlite, "sqlite:///usage.db", "ledger: `sqlite:///usage.db`: name a file as sqlite:PATH"),
        (create_postgresql, "postgresql", NO_URL),
        (create_postgresql, "postgresql://ann:s3cret@db:port/usage", NO_URL),
    ],
)
def test_a_wrong_value_is_one_line(create, value: str, message: str) -> None:
    """Which shows no password."""
    with pytest.raises(ConfigError) as caught:
        create(value, {}, Settings())
    assert str(caught.value).startswith(message)
    assert "s3cret" not in str(caught.value)


def test_a_missing_driver_names_its_extra() -> None:
    """As of every other part that is installed apart."""
    code = (
        "import tokengrpc.extras; tokengrpc.extras._installed = lambda name, _: name != 'psycopg'\n"
        "from tokengrpc.config import Settings\n"
        "from tokengrpc.stores.sql.ledger import create_postgresql\n"
        "create_postgresql('postgresql://db/usage', {}, Settings())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ledger: postgresql needs psycopg: pip install 'tokengrpc[postgresql]'" in done.stderr


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """Such as a file, whose name somebody typed."""
    (tmp_path / "file").touch()
    ledger = create_sqlite("sqlite", {}, Settings(data_dir=str(tmp_path / "file")))
    with pytest.raises(StoreUnavailable, match="cannot be the ledger's directory \\(File exists\\)"):
        await ledger.start()


async def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    """Its own words say why, and ours what to do."""
    (tmp_path / FILE).write_text("This is no database. " * 100)
    ledger = create_sqlite("sqlite", {}, Settings(data_dir=str(tmp_path)))
    with pytest.raises(StoreUnavailable) as caught:
        await ledger.start()
    assert caught.value.message == (
        "the usage ledger failed: file is not a database; "
        "check the settings `ledger` and `data_dir`, and that the database runs"
    )
