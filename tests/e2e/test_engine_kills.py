"""Engine processes that are killed while generations run on them. `make chaos` does it 1,000 times."""

from __future__ import annotations

from tests.support.engine_kills import run

KILLS = 50


async def test_a_killed_engine_loses_and_doubles_nothing():
    """Invisible before the first token; after it an exact continuation, or a failure if none is allowed."""
    tally = await run(KILLS)
    assert not tally.wrong
    assert tally.kills == KILLS
    assert set(tally.kinds) == {
        "completed by one engine",
        "continued exactly by another engine",
        "failed explicitly: no switch was allowed",
    }
