"""When servers notice that the store is back, on a clock that the tests move."""

from __future__ import annotations

import pytest

from tests.support.cut_sink import CutSink
from tests.support.services import patience
from tokengrpc.errors import StoreUnavailable
from tokengrpc.generations.observers import Observers
from tokengrpc.generations.store_watch import StoreWatch


@pytest.mark.parametrize("seconds", [0.2, 3.0, 60.0])
@pytest.mark.parametrize("lease", [1.0, 10.0])
def test_owners_notice_before_others_take_over(loop, lease, seconds):
    """However long the store was away: others take over a lease after they have noticed, and no later.

    The clock begins at 0, as on a machine that was started a moment ago.
    """
    sink = CutSink("a", lease=lease)

    async def create() -> StoreWatch:
        watch = StoreWatch(sink, patience(), Observers(), strict=True)
        await watch.start()
        assert watch.settled
        return watch

    async def settled() -> bool:
        return watch.settled

    watch = loop.run_until_complete(create())
    sink.cut()
    loop.call_soon(watch.failed, StoreUnavailable("the store is cut off"))
    loop.advance(seconds)
    assert not watch.available
    sink.mend()
    loop.advance(lease / 4)
    assert watch.available
    assert not loop.run_until_complete(settled())
    loop.advance(lease)
    assert loop.run_until_complete(settled())
