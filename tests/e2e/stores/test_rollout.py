"""A rollout of servers that share an event store. `make rolling-deploy` does it at full size."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.support.replica_chaos.rollout import LIMITS, SERVERS, restarts
from tests.support.replica_chaos.run import run

if TYPE_CHECKING:
    from tests.support.postgres import Postgres


async def test_a_rollout_is_not_noticed(postgres_server: Postgres) -> None:
    """Every stream is whole, without an error; all servers exit with 0; the ledger has each end once.

    It takes more than five seconds because servers start one after another.
    """
    rolling = partial(restarts, count=SERVERS)
    with postgres_server.database("rollout") as url:
        tally = await run(rolling, url, streams=30, tokens=40, count=SERVERS, pace=0.2, limits=LIMITS)
    assert not tally.wrong
    assert tally.counts["servers restarted"] == SERVERS
    assert tally.counts["switches seen: DRAINING"]
    assert tally.counts["generations"] == tally.counts["ledger records: CLOSED"] >= 30
