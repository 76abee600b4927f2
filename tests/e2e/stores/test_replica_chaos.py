"""Kills and pauses servers that share an event store, or cuts them off. `make chaos-replicas` does more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.replica_chaos.faults import kills, pauses, random_faults
from tests.support.replica_chaos.run import on_asyncio, run

if TYPE_CHECKING:
    import random

    from tests.support.postgres import Postgres
    from tests.support.replica_chaos.fleet import Fleet
    from tests.support.replica_chaos.load import Load, Tally


CUT = "a server is cut off from the store"


async def one_of_each(fleet: Fleet, load: Load, tally: Tally, chance: random.Random) -> None:
    """Kills a server, pauses one beyond its lease, and cuts one off from the store."""
    await kills(fleet, load, tally, chance, count=1)
    await pauses(fleet, load, tally, chance, count=1)
    await random_faults(fleet, load, tally, chance, count=1, names=[CUT])


def test_servers_that_die_or_stop_change_nothing(postgres_server: Postgres) -> None:
    """Readers see the output of the engine, once; no fenced server writes; the ledger has each end once.

    It takes more than five seconds because servers start, and leases end, in real time.
    """
    with postgres_server.database("chaos") as url:
        tally = on_asyncio(run(one_of_each, url, streams=10, tokens=80))
    assert not tally.wrong
    assert tally.counts["switches seen: SERVER_LOST"]
    assert tally.counts["generations"] == tally.counts["ledger records: CLOSED"] >= 10
