"""Requests and tokens in any window: never more than the limit, and a truthful time to wait."""

from __future__ import annotations

import asyncio

import pytest
from google.rpc import error_details_pb2

from tests.support.admin_pages import ADMIN, scrape, series
from tests.support.harness import collect, serving, upstream
from tests.support.one_tenant import OneTenant
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text, UsageChunk
from tokengrpc.core.tenant import Rates as Limits
from tokengrpc.core.tenant import Tenant
from tokengrpc.errors import QuotaExceeded
from tokengrpc.limits.rates import Rates
from tokengrpc.limits.request_windows import BoundedMemory, RequestWindows
from tokengrpc.limits.tenant import TenantBudget
from tokengrpc.limits.token_windows import MemoryTokenWindows
from tokengrpc.telemetry.metric_table import LIMIT_REJECTIONS


class Clock:
    now = 1_000_000.25

    def __call__(self) -> float:
        return self.now


async def test_tokens_fit_exactly_when_told():
    """The wait is until so much of what was used has left the window, and not earlier."""
    clock = Clock()
    windows = MemoryTokenWindows(60, clock)
    assert (await windows.take("k", 100, 60))[0] == 0
    clock.now += 10
    _, second = await windows.take("k", 100, 40)
    clock.now += 5
    assert (await windows.take("k", 100, 1))[0] == 61 - 15.25
    assert (await windows.take("k", 100, 61))[0] == 71 - 15.25
    await windows.correct("k", second, -10)
    assert (await windows.take("k", 100, 10))[0] == 0
    wait, _ = await windows.take("k", 100, 50)
    clock.now += wait - 0.001
    assert (await windows.take("k", 100, 50))[0] > 0
    clock.now += 0.001
    assert (await windows.take("k", 100, 50))[0] == 0


async def test_never_more_tokens_than_the_limit_in_any_window():
    """Whatever is wanted when, and however much of it is returned."""
    clock = Clock()
    windows = MemoryTokenWindows(60, clock)
    counted: list[tuple[float, int]] = []
    for step in range(4_000):
        clock.now += (step * 7_919 % 100) / 70
        amount = 1 + step * 104_729 % 90
        wait, second = await windows.take("k", 500, amount)
        if not wait:
            used = amount - (amount // 2 if step % 3 else 0)
            await windows.correct("k", second, used - amount)
            counted.append((clock.now, used))
        in_window = sum(used for when, used in counted[-400:] if when > clock.now - 60)
        assert in_window <= 500
    assert sum(used for _, used in counted) > 500 * (clock.now - 1_000_000) / 60 * 0.9


async def test_a_request_above_the_limit_waits_for_an_empty_window():
    """Otherwise it would never be served."""
    clock = Clock()
    windows = MemoryTokenWindows(60, clock)
    assert (await windows.take("k", 100, 100))[0] == 0
    wait, _ = await windows.take("k", 100, 100)
    clock.now += wait
    assert (await windows.take("k", 100, 100))[0] == 0


def rates(seconds: int) -> Rates:
    return Rates(lambda: RequestWindows(BoundedMemory(), seconds), MemoryTokenWindows(seconds))


async def test_requests_are_counted_at_the_boundary():
    """As many as the limit of the tenant and of the model, and not one more, from 200 at once."""
    limited = rates(60)
    tenant = Tenant(name="a", requests_per_minute=100, model_rates=(("m", Limits(requests_per_minute=60)),))

    async def take(model: str) -> bool:
        try:
            await limited.take(tenant, model, 1)
        except QuotaExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*(take("m") for _ in range(200)))) == 60
    assert sum(await asyncio.gather(*(take("n") for _ in range(200)))) == 40


async def test_tenants_share_no_window():
    """Whatever their names and those of their models, which may have slashes."""
    limited = rates(60)
    of_model = Limits(requests_per_minute=1, tokens_per_minute=10)
    for name, model in (("a", "b/c"), ("a/b", "c"), ("a/b/c", "")):
        await limited.take(Tenant(name=name, model_rates=((model, of_model),)), model, 10)


async def test_a_refused_request_counts_nowhere():
    """Neither its tokens nor itself, and the longest wait is told."""
    limited = rates(60)
    tenant = Tenant(name="a", tokens_per_minute=1_000, requests_per_minute=1)
    await limited.take(tenant, "m", 100)
    for _ in range(50):
        with pytest.raises(QuotaExceeded) as caught:
            await limited.take(tenant, "m", 100)
        assert str(caught.value.limit) == "requests_per_minute"
        assert 55 < caught.value.retry_after <= 60
    await limited.take(Tenant(name="a", tokens_per_minute=1_000), "m", 900)


async def test_the_told_delay_is_enough(engine: ScriptedEngine):
    """On a server: after RetryInfo's delay, the same request is admitted. Refused ones do not prolong it."""
    caller = OneTenant(requests_per_minute=2)
    budget = TenantBudget(window=1)
    async with serving(upstream(engine.base_url), authenticator=caller, budget=budget) as server:
        engine.script(Text("One"), Finish(), UsageChunk(3, 1), Done())
        for _ in range(3):
            outcomes = [await collect(server.stream()) for _ in range(2)]
            assert all(outcome.finished for outcome in outcomes)
            refused = await collect(server.stream())
            assert refused.info.reason == "QUOTA_EXCEEDED"
            (violation,) = refused.detail(error_details_pb2.QuotaFailure).violations
            assert violation.description.startswith("requests_per_minute: tenant a has reached")
            delay = refused.detail(error_details_pb2.RetryInfo).retry_delay
            await asyncio.sleep(delay.seconds + delay.nanos / 1e9)
            # Both places, because the other one is free a little later.
            await asyncio.sleep(0.2)


async def test_expected_tokens_are_settled_to_what_was_used(engine: ScriptedEngine):
    """So a window is filled by what was used, also if much more was expected."""
    caller = OneTenant(tokens_per_minute=1_000)
    async with serving(upstream(engine.base_url), authenticator=caller) as server:
        engine.script(Text("One"), Finish(), UsageChunk(20, 10), Done())
        served = 0
        while (outcome := await collect(server.stream(max_output_token_count=200))).finished:
            served += 1
        assert outcome.info.reason == "QUOTA_EXCEEDED"
        assert (1_000 - 201) // 30 <= served <= 1_000 // 30
        caller.limit(tokens_per_minute=2_000)
        assert (await collect(server.stream(max_output_token_count=200))).finished


async def test_a_refusal_counts_under_its_limit(engine: ScriptedEngine):
    """By tenant, once for each call."""
    engine.script(Text("One"), Finish(), UsageChunk(3, 1), Done())
    caller = OneTenant(requests_per_minute=1)
    async with serving(upstream(engine.base_url), authenticator=caller, admin_listen=ADMIN) as server:
        assert (await collect(server.stream())).finished
        for _ in range(2):
            outcome = await collect(server.stream())
            assert outcome.info.reason == "QUOTA_EXCEEDED"
        shown = await scrape(server)
    name = caller.tenant.name
    assert shown[series(LIMIT_REJECTIONS.name, tenant=name, limit="requests_per_minute")] == 2
