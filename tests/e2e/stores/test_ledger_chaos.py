"""Kills servers while generations run, and audits the ledger. `make chaos-ledger` does it at full size."""

from __future__ import annotations

import pytest

from tests.support.ledger_chaos.run import run

GENERATIONS, KILLS, CALLERS = 400, 2, 60


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_killed_servers_bill_everything_once(request, database: str) -> None:
    """Each accepted generation has one record, closed as callers and engines know it, or flagged as lost."""
    if database == "sqlite":
        audit, told = await run("sqlite", GENERATIONS, KILLS, callers=CALLERS)
    else:
        with request.getfixturevalue("postgres_server").database("chaos") as url:
            audit, told = await run(url, GENERATIONS, KILLS, callers=CALLERS)
    assert not audit.wrong
    assert len(told) >= GENERATIONS
    assert audit.counts["entries LOST"]
    assert audit.counts["records with several engines"]
    assert audit.counts["entries BEGIN"] >= audit.counts["entries FINISH"] > GENERATIONS / 2
