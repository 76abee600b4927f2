"""Hostile peers: a good client loses no call, no engine is asked in vain, and nothing stays behind.

`make attack` runs the same attacks for longer, and measures times; none is asserted here.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest
import pytest_asyncio

from attack.arena import LEFT_BYTES, Arena, Phases, arena, bare_arena
from attack.catalog import ATTACKS
from bench.cancels import used_bytes

BRIEF = Phases(quiet=0.1, attack=0.3, after=0.0)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="running")
async def _running():
    async with arena() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="before")
async def _before(running: Arena):
    return await running.held(), await asyncio.to_thread(used_bytes, running.server)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_good_client_notices_nothing(running: Arena, before: object, attack: str):
    """All attacks, one after another, on one server."""
    result = await running.raid(attack, BRIEF)
    assert result.counts.actions > 0
    assert result.broken == []


async def test_grpc_refuses_rapid_resets_itself(running: Arena, before: object):
    """Above `limits.max_connection_streams`. Otherwise, all wait for the loop, with memory for each."""
    result = await running.raid("rapid reset, headers", replace(BRIEF, attack=1.5))
    assert result.counts.answered > 0


async def test_nothing_stays_behind(running: Arena, before: tuple[dict[str, int], int]):
    """After all attacks."""
    held, used = before
    left = await running.left(held)
    assert {name: count for name, count in left.items() if count > 0} == {}
    assert await asyncio.to_thread(used_bytes, running.server) < used + 2 * LEFT_BYTES


async def test_a_bare_server_serves_the_good_client_too():
    """With the same answers, so that what it notices can be compared."""
    async with bare_arena() as bare:
        noticed, counts, _ = await bare.beside("SETTINGS", replace(BRIEF, quiet=1.0))
    assert counts.actions > 0
    assert noticed.failed == []
    assert 0 < noticed.ratio < math.inf
