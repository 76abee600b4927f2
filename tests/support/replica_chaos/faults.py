"""What happens to servers and their store while streams run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.replica_chaos.fleet import LEASE
from tests.support.replica_chaos.histories import DENIALS

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tests.support.replica_chaos.fleet import Fleet
    from tests.support.replica_chaos.load import Load, Tally

    Fault = Callable[[Fleet, random.Random], Awaitable[None]]

_LAG = 0.3


async def kills(fleet: Fleet, load: Load, tally: Tally, chance: random.Random, *, count: int) -> None:
    """Kills one server after another, each as soon as the last one serves again."""
    for _ in range(count):
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        await _kill(fleet, chance)
        tally.counts["servers killed"] += 1
        if tally.wrong:
            break


async def pauses(fleet: Fleet, load: Load, tally: Tally, chance: random.Random, *, count: int) -> None:
    """Stops one server after another until its leases have ended, and lets it go on."""
    for _ in range(count):
        await asyncio.sleep(chance.uniform(0.0, LEASE))
        await _pause(fleet, chance)
        await asyncio.sleep(LEASE)
        tally.counts["servers paused"] += 1
        if tally.wrong:
            break


async def random_faults(
    fleet: Fleet, load: Load, tally: Tally, chance: random.Random, *, count: int, names: Sequence[str]
) -> None:
    """Draws faults. Only those that may lose events that were shown allow a reader to be denied them."""
    for _ in range(count):
        name = chance.choice(names)
        losing = name in LOSING
        if losing:
            load.allowed = DENIALS
        await asyncio.sleep(chance.uniform(0.0, LEASE))
        await FAULTS[name](fleet, chance)
        tally.counts[f"faults: {name}"] += 1
        if losing:
            await load.renew()
        elif name in GOING_BACK:
            await load.go_on()
        if tally.wrong:
            tally.wrong.append(f"after {name}")
            break


async def _kill(fleet: Fleet, chance: random.Random) -> None:
    await fleet.kill(chance.randrange(len(fleet.servers)))


async def _pause(fleet: Fleet, chance: random.Random) -> None:
    await fleet.pause(chance.randrange(len(fleet.servers)), LEASE * chance.uniform(1.5, 2.5))


async def _cut_off(fleet: Fleet, chance: random.Random) -> None:
    await fleet.store.cut(chance.randrange(len(fleet.servers)), LEASE * chance.uniform(0.1, 2.0))


async def _store_away(fleet: Fleet, chance: random.Random) -> None:
    seconds = LEASE * chance.uniform(0.1, 2.0)
    await asyncio.gather(*(fleet.store.cut(way, seconds) for way in range(len(fleet.servers))))


async def _failover(fleet: Fleet, chance: random.Random) -> None:
    await fleet.store.fail_over(lag=chance.uniform(0.0, _LAG))


async def _restart(fleet: Fleet, chance: random.Random) -> None:
    await fleet.store.restart()


async def _snapshot(fleet: Fleet, chance: random.Random) -> None:
    await fleet.store.restart(snapshot_age=chance.uniform(0.0, _LAG))


async def _both(fleet: Fleet, chance: random.Random) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fleet.store.fail_over(lag=_LAG))
        await asyncio.sleep(_LAG / 2)
        group.create_task(_kill(fleet, chance))


FAULTS: Mapping[str, Fault] = {
    "a server is killed": _kill,
    "a server is paused": _pause,
    "a server is cut off from the store": _cut_off,
    "the store is away": _store_away,
    "the store fails over to a replica that lags": _failover,
    "the store restarts": _restart,
    "an old snapshot of the store is restored": _snapshot,
    "a server and the store's primary die together": _both,
}
GOING_BACK = frozenset(
    {"the store fails over to a replica that lags", "an old snapshot of the store is restored"}
)
"""Faults after which the store lacks events that were shown, until their owners have written them again.

If an owner dies before that, both were lost together.
"""
LOSING = frozenset({"a server and the store's primary die together"})
"""Faults after which events that were shown may be lost."""
