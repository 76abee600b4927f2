"""Interleavings that went wrong once or nearly did, told by hand; `test_stateful.py` looks for others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.generations.stateful.house import CALLER, LIMITS, TENANT, Handed, House, Reading
from tests.support.virtual_time import VirtualLoop
from tokengrpc.core.model import Delta, EngineFinish, FinishReason
from tokengrpc.core.request import GenerationRequest, Recovery
from tokengrpc.errors import GenerationNotFound, ReaderTooSlow, ReplayExpired, StreamDeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator

DETACHED = GenerationRequest(generation_id="g", prompt="p", recovery=Recovery(detach=True))


@pytest.fixture
def house() -> Iterator[House]:
    loop = VirtualLoop()
    built = House(loop, remote=False, log_bytes=1 << 20)
    built.handed["g"] = Handed()
    loop.call_soon(built.registry.sweep)
    loop.run()
    yield built
    built.registry.close()
    loop.run()
    assert not asyncio.all_tasks(loop)
    loop.close()


def opened(house: House, deadline: float | None = None, *, slow: bool = False) -> Reading:
    reading = house.call(lambda: house.registry.open(DETACHED, CALLER, deadline), slow=slow)
    house.loop.run()
    return reading


def test_a_stop_before_the_first_step_still_ends_it(house: House) -> None:
    """A generation whose reader leaves in the same instant is ended, not left hanging."""

    async def open_and_leave():
        task, subscription = house.registry.open(
            GenerationRequest(generation_id="g", prompt="p"), CALLER, None
        )
        with subscription:
            pass
        await task.wait_ended()

    house.loop.run_until_complete(open_and_leave())
    assert house.admission.active == 0
    with pytest.raises(GenerationNotFound):
        house.registry.get(TENANT, "g")


def test_what_the_engine_has_ended_is_not_cancelled_any_more(house: House) -> None:
    """The end that came first counts, also while the bill is being written."""
    house.ledger.hold = go = asyncio.Event()
    reading = opened(house)
    house.handed["g"].queue.put_nowait(())
    finish = EngineFinish(reason=FinishReason.END)
    house.handed["g"].queue.put_nowait([Delta(text="a", count=1, finish=finish)])
    house.loop.run()
    cancelling = house.loop.create_task(house.registry.cancel(TENANT, "g"))
    house.loop.run()
    assert not cancelling.done()
    go.set()
    house.loop.run()
    assert cancelling.result().generation.termination.reason is FinishReason.END
    assert reading.outcome == "ended"


def test_a_write_that_hangs_is_ended_though_the_deadline_waits_behind_it(house: House) -> None:
    """A stream that has ended already, but whose reader takes nothing, lets go of its handler."""
    reading = opened(house, deadline=7.0, slow=True)
    house.handed["g"].queue.put_nowait(())
    house.loop.advance(7.0)
    assert not reading.call.done()
    house.loop.advance(LIMITS.write_stall_timeout * 2)
    assert isinstance(reading.outcome, StreamDeadlineExceeded)


def test_a_write_that_hangs_is_ended_though_the_generation_is_forgotten(house: House) -> None:
    """A generation that no engine accepted frees its id; its slow reader is not forgotten with it."""
    reading = opened(house, slow=True)
    reading.allow(int(LIMITS.first_token_timeout / LIMITS.heartbeat_interval) - 2)
    house.loop.advance(LIMITS.first_token_timeout + 0.5)
    assert house.registry.find(TENANT, "g") is None
    assert not reading.call.done()
    house.loop.advance(LIMITS.write_stall_timeout * 2)
    assert isinstance(reading.outcome, ReaderTooSlow)


def test_a_notice_repeats_a_cursor_that_the_log_has_dropped(house: House) -> None:
    """A slow reader's heartbeat carries its cursor, though the record is gone, and not 0."""
    small = House(house.loop, remote=False, log_bytes=1200)
    small.handed["g"] = Handed()
    reading = small.call(lambda: small.registry.open(DETACHED, CALLER, None), slow=True)
    small.handed["g"].queue.put_nowait([Delta(text="a", count=1)])
    house.loop.advance(LIMITS.heartbeat_interval + 0.5)
    for _ in range(4):
        small.handed["g"].queue.put_nowait([Delta(text="b", count=1)])
        house.loop.run()
    assert reading.task.subscribers.buffer.first_sequence > 2
    reading.allow(2)
    house.loop.run()
    assert isinstance(reading.outcome, ReplayExpired)
    assert (reading.cursor, reading.allowed) == (1, 0)
    house.loop.advance(LIMITS.detach_ttl * 2)
    small.registry.close()
