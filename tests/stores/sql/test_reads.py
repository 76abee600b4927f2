"""Reads of a ledger in SQLite are bounded in time, and the writer's transactions are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.sql import database

if TYPE_CHECKING:
    from pathlib import Path

COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n {end}) SELECT count(*) FROM n"


def test_an_endless_query_is_interrupted(tmp_path: Path) -> None:
    """Its connection can be used again, also by the writer, whose long statement is not interrupted."""
    engine = database.sqlite(tmp_path / "ledger.sqlite3", 0.05)
    with database.translated("ledger"), engine.execution_options(reads=True).connect() as reader:
        with pytest.raises(StoreUnavailable, match="interrupted"), database.translated("ledger"):
            reader.execute(sa.text(COUNTING.format(end="")))
        reader.rollback()
        assert reader.scalar(sa.text("SELECT 1")) == 1
    with engine.begin() as writer:
        assert writer.scalar(sa.text(COUNTING.format(end="LIMIT 1000000"))) == 1_000_000
    engine.dispose()
