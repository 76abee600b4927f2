"""Concurrent generations of a tenant and its models on a real server, with 200 callers at once."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.harness import collect, read_until, serving, until, upstream
from tests.support.one_tenant import OneTenant
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Stall, Text, UsageChunk
from tokengrpc.core.tenant import Rates

CALLERS = 200
LIMITS = {
    "tenant": ({"max_generations": 60}, 60),
    "model": ({"model_rates": (("scripted", Rates(max_generations=60)),)}, 60),
    "both": (
        {"max_generations": 61, "model_rates": (("scripted", Rates(max_generations=60)),)},
        60,
    ),
}


@pytest.mark.parametrize("limits", LIMITS)
async def test_a_limit_is_exact(engine: ScriptedEngine, limits):
    """As many generations run as the limit says, and not one more: at first, and as others end."""
    fields, most = LIMITS[limits]
    caller = OneTenant(**fields)
    engine.script(Text("One"), Stall())

    async def attempt(server) -> object | None:
        """Starts a generation. Returns its call, or None if it is refused."""
        call = server.stream()
        try:
            await read_until(call, lambda message: message.tokens)
        except Exception:
            outcome = await collect(call)
            assert outcome.info.reason == "QUOTA_EXCEEDED"
            assert outcome.info.metadata["limit"] == str(most)
            return None
        return call

    async with serving(upstream(engine.base_url), authenticator=caller) as server:

        async def attempts(count: int) -> list:
            found = await asyncio.gather(*(attempt(server) for _ in range(count)))
            return [call for call in found if call is not None]

        running = await attempts(CALLERS)
        assert len(running) == server.registry.active == most
        for ended in (1, 7, 30, most):
            for call in running[:ended]:
                call.cancel()
            running = running[ended:]
            await until(lambda: server.registry.active == len(running))  # noqa: B023 - awaited here
            started = await attempts(CALLERS if ended == most else ended + 1)
            assert len(started) == ended
            running += started
        assert server.registry.active == most


async def test_a_lowered_limit_ends_no_stream(engine: ScriptedEngine):
    """It refuses new generations until fewer run. A raised one holds at once."""
    caller = OneTenant(max_generations=4)
    async with serving(upstream(engine.base_url), authenticator=caller) as server:
        engine.script(Text("One"), Stall())
        running = [server.stream(f"g{n}") for n in range(4)]
        for call in running:
            await read_until(call, lambda message: message.tokens)
        caller.limit(max_generations=2)
        assert (await collect(server.stream())).info.reason == "QUOTA_EXCEEDED"
        assert server.registry.active == 4
        for call in running[:3]:
            call.cancel()
        await until(lambda: server.registry.active == 1)
        engine.script(Text("One"), Finish(), UsageChunk(3, 1), Done())
        assert (await collect(server.stream())).finished
        caller.limit(max_generations=1)
        assert (await collect(server.stream())).info.reason == "QUOTA_EXCEEDED"
        caller.limit(max_generations=5)
        assert (await collect(server.stream())).finished


@pytest.mark.parametrize(
    ("requested", "tenant", "server", "expected"),
    [
        (None, 0, 0, None),
        (9, 0, 0, 9),
        (9, 5, 7, 5),
        (9, 7, 5, 5),
        (3, 5, 7, 3),
        (None, 5, 0, 5),
        (None, 8, 6, 6),
    ],
)
async def test_the_smallest_output_maximum_counts(
    engine: ScriptedEngine, requested, tenant, server, expected
):
    """Of the request, the tenant and the server."""
    limits = {"max_output_token_count": server}
    caller = OneTenant(max_output_token_count=tenant)
    async with serving(upstream(engine.base_url), authenticator=caller, limits=limits) as served:
        engine.script(Text("One"), Finish(), UsageChunk(3, 1), Done())
        assert (await collect(served.stream(max_output_token_count=requested))).finished
        body = engine.calls[0].body
        assert body.get("max_tokens") == expected
