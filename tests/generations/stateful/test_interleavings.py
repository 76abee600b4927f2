"""Interleavings that failed once, or nearly did, written by hand. `test_stateful.py` searches for others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.generations.stateful.house import CALLER, LIMITS, TENANT, Handed, House, Reading
from tests.support.virtual_time import VirtualLoop
from tokengrpc.core.model import Cursor, Delta, EngineFinish, FinishReason
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


def test_a_stop_before_the_first_step_ends_the_generation(house: House) -> None:
    """If the reader leaves at the moment of the start, the generation ends instead of hanging."""

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


def test_a_finished_generation_cannot_be_cancelled(house: House) -> None:
    """The end that came first counts, even while the usage is being recorded."""
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


def test_a_hanging_write_ends_before_a_later_deadline(house: House) -> None:
    """The stream has ended, but its reader accepts nothing: the handler returns nevertheless."""
    reading = opened(house, deadline=7.0, slow=True)
    house.handed["g"].queue.put_nowait(())
    house.loop.advance(7.0)
    assert not reading.call.done()
    house.loop.advance(LIMITS.write_stall_timeout * 2)
    assert isinstance(reading.outcome, StreamDeadlineExceeded)


def test_a_hanging_write_ends_after_the_generation_is_forgotten(house: House) -> None:
    """A generation that no engine accepted frees its id. The stream of its slow reader still ends."""
    reading = opened(house, slow=True)
    reading.allow(int(LIMITS.first_token_timeout / LIMITS.heartbeat_interval) - 2)
    house.loop.advance(LIMITS.first_token_timeout + 0.5)
    assert house.registry.find(TENANT, "g") is None
    assert not reading.call.done()
    house.loop.advance(LIMITS.write_stall_timeout * 2)
    assert isinstance(reading.outcome, ReaderTooSlow)


def test_a_notice_repeats_a_cursor_that_the_log_has_dropped(house: House) -> None:
    """The heartbeat of a slow reader has the reader's cursor, not 0, although the record was dropped."""
    small = small_log(house)
    reading = small.call(lambda: small.registry.open(DETACHED, CALLER, None), slow=True)
    check_late_notices(small, reading)


def test_first_notices_repeat_a_cursor_that_the_log_dropped(house: House) -> None:
    """A resumed reader has not received an event yet, and takes its first notices late."""
    small = small_log(house)
    opened(small)
    small.handed["g"].queue.put_nowait([Delta(text="a", count=1)])
    house.loop.run()
    reading = small.call(lambda: small.registry.resume(TENANT, "g", Cursor(1), None), slow=True)
    check_late_notices(small, reading)


def small_log(house: House) -> House:
    """Returns another house on the same loop, whose logs keep 200 bytes."""
    small = House(house.loop, remote=False, log_bytes=200)
    small.handed["g"] = Handed()
    return small


def check_late_notices(house: House, reading: Reading) -> None:
    """Lets the log drop the event at the cursor of a slow reader, which takes two messages afterwards.

    The reading checks their sequences. The last of them is a heartbeat.
    """
    queue = house.handed["g"].queue
    queue.put_nowait([Delta(text="a", count=1)])
    house.loop.advance(LIMITS.heartbeat_interval + 0.5)
    for _ in range(4):
        queue.put_nowait([Delta(text="b", count=1)])
        house.loop.run()
    assert reading.task is not None
    assert reading.task.subscribers.buffer.first_sequence > 2
    reading.allow(2)
    house.loop.run()
    assert isinstance(reading.outcome, ReplayExpired)
    assert (reading.cursor, reading.allowed) == (1, 0)
    house.loop.advance(LIMITS.detach_ttl * 2)
    house.registry.close()
