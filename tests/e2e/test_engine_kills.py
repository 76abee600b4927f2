"""Kills engine processes while generations run on them. `make chaos` does it 1,000 times."""

from __future__ import annotations

from tests.support.engine_kills import run

KILLS = 50


async def test_killed_engines_lose_and_duplicate_nothing():
    """Invisible before the first token.

    After it, an exact continuation, or a failure if no switch is allowed.
    """
    tally = await run(KILLS)
    assert not tally.wrong
    assert tally.kills == KILLS
    assert set(tally.kinds) == {
        "completed by one engine",
        "continued exactly by another engine",
        "failed explicitly: no switch was allowed",
    }
