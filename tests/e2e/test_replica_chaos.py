"""Kills and pauses servers that share an event store. `make chaos-replicas` does it at full size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.replica_chaos.faults import kills, pauses
from tests.support.replica_chaos.run import run

if TYPE_CHECKING:
    import random

    from tests.support.postgres import Postgres
    from tests.support.replica_chaos.fleet import Fleet
    from tests.support.replica_chaos.load import Load, Tally


async def killed_and_paused(fleet: Fleet, load: Load, tally: Tally, chance: random.Random) -> None:
    """Kills a server, and pauses one beyond its lease."""
    await kills(fleet, load, tally, chance, count=1)
    await pauses(fleet, load, tally, chance, count=1)


async def test_servers_that_die_or_stop_change_nothing(postgres_server: Postgres) -> None:
    """Readers see the output of the engine, once; no fenced server writes; the ledger has each end once.

    It takes more than five seconds because servers start, and leases end, in real time.
    """
    with postgres_server.database("chaos") as url:
        tally = await run(killed_and_paused, url, streams=10, tokens=80)
    assert not tally.wrong
    assert tally.counts["switches seen: SERVER_LOST"]
    assert tally.counts["generations"] == tally.counts["ledger records: CLOSED"] >= 10
