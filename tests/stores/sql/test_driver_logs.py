"""What PostgreSQL's driver logs of errors that are raised as well."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tokengrpc.stores.sql import database

if TYPE_CHECKING:
    from tests.support.postgres import Postgres


def test_rows_that_exist_already_are_no_warning(
    postgres_server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """A record's next owner meets them. The line would have the address of the database."""
    caplog.set_level(logging.WARNING)
    with postgres_server.database("rows") as url:
        engine = database.postgresql(url, 5.0)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE numbers (number integer PRIMARY KEY)")
        with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO numbers VALUES (%s)", [(1,)] * 10_000)
        engine.dispose()
    assert not [each for each in caplog.records if each.name == "psycopg"]
