"""The scripts decide as the tables in tokengrpc/core/log_decisions.py do, in any order of calls."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support.event_stores import EVENT_STORES, MemoryEventStore
from tests.support.records import log_records
from tokengrpc.core.model import GenerationKey
from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.event_stores import EventStore, RedisEventStore
    from tokengrpc.core.ports.log import EventSink, LogState

KEYS = [GenerationKey("t", name) for name in ("one", "two")]
REPLICAS = ("a", "b")
STEPS = 400


@pytest.fixture(params=EVENT_STORES[1:], ids=[make.__name__ for make in EVENT_STORES[1:]])
async def store(request) -> AsyncIterator[RedisEventStore]:
    """Each store on a real server."""
    async with request.param(request) as made:
        yield made


async def outcome(store: EventStore, sink: EventSink, step: tuple[Any, ...]) -> Any:
    """Makes one call; its result or the kind of its error."""
    name, key, *arguments = step
    try:
        match name:
            case "append":
                epoch, first, count, end = arguments
                records = log_records(first, first + count - 1, end=end)
                return await sink.append(key, epoch, records)
            case "pass_leases":
                return await store.pass_leases(key)
            case "renew" | "release":
                return await getattr(sink, name)({key: arguments[0]})
            case "count":
                return await sink.count_subscribers({key: arguments[0]})
            case _:
                return await getattr(sink, name)(key, *arguments)
    except TokenGrpcError as error:
        return type(error)


def random_step(chance: random.Random) -> tuple[Any, ...]:
    """A call with arguments that often fit, and often do not."""
    key, epoch = chance.choice(KEYS), chance.randint(1, 4)
    return chance.choice(
        [
            ("claim", key, b"same", b"request", chance.choice(["log-1", "log-2"])),
            *[("append", key, epoch, chance.randint(1, 8), chance.randint(1, 4), chance.random() < 0.05)] * 5,
            ("take_over", key, epoch),
            ("pass_leases", key),
            ("renew", key, epoch),
            ("release", key, epoch),
            ("retain", key, epoch, chance.choice([0, 60, 60])),
            ("publish_cancel", key),
            ("count", key, chance.randint(0, 3)),
        ]
    )


@pytest.mark.parametrize("seed", range(3))
async def test_scripts_and_tables_agree(store: RedisEventStore, seed: int) -> None:
    """The same random calls on the store in memory and on a real one have the same results."""
    chance = random.Random(seed)
    memory = MemoryEventStore()
    # The clock of the store in memory stands still.
    store.options = msgspec.structs.replace(store.options, lease=600.0)
    pairs = [(await memory.replica(name), await store.replica(name)) for name in REPLICAS]
    seen = set()
    for n in range(STEPS):
        step = random_step(chance)
        model, real = chance.choice(pairs)
        expected = await outcome(memory, model, step)
        assert await outcome(store, real, step) == expected, (n, step)
        seen.add((step[0], str(getattr(expected, "status", expected))))
        for key in KEYS:
            assert without_clock(await real.describe(key)) == without_clock(await model.describe(key)), (
                n,
                step,
            )
    assert len(seen) > 20


def without_clock(state: LogState | None) -> Any:
    """What a description says, apart from the time that is left of the lease."""
    if state is None:
        return None
    return {
        **{name: getattr(state, name) for name in state.__struct_fields__},
        "lease_left": state.lease_left > 0,
    }
