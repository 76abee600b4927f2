"""Rates that several servers count together, in Redis and Valkey."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.support.harness import until
from tests.support.redis_servers import Machines
from tokengrpc.config import LimitSettings, Settings
from tokengrpc.core.ports.budget import HasRateWindows
from tokengrpc.core.tenant import Tenant
from tokengrpc.errors import QuotaExceeded, StoreUnavailable
from tokengrpc.limits.fallback_windows import FallbackWindows
from tokengrpc.limits.rates import Rates
from tokengrpc.limits.request_windows import RequestWindows
from tokengrpc.stores.redis.plugin import create


def replica(url: str, seconds: int = 60):
    """Returns the rates of one of several servers, and the windows that are to be closed."""
    # 200 callers connect at once.
    sink = create(url, {}, Settings(limits=LimitSettings(store_timeout=20.0)))
    assert isinstance(sink, HasRateWindows)
    windows = sink.rate_windows(seconds)
    return Rates(lambda: RequestWindows(windows, seconds), windows), windows


async def taken(rates: Rates, tenant: Tenant, tokens: int = 1) -> bool:
    try:
        await rates.take(tenant, "m", tokens)
    except QuotaExceeded:
        return False
    return True


@pytest.mark.parametrize("name", ["redis", "valkey"])
async def test_two_servers_count_together(name):
    """Never more than the limit, and all of it, from 200 callers at once."""
    with Machines(name) as machines:
        url = machines.single().url
        (one, first), (two, second) = replica(url), replica(url)
        requests = Tenant(name="a", requests_per_minute=60)
        found = await asyncio.gather(*(taken(rates, requests) for _ in range(100) for rates in (one, two)))
        assert sum(found) == 60
        tokens = Tenant(name="a", tokens_per_minute=1_000)
        held = await one.take(tokens, "m", 600)
        assert not await taken(two, tokens, 500)
        await one.settle(held, 100)
        assert await taken(two, tokens, 500)
        assert await taken(one, tokens, 400)
        with pytest.raises(QuotaExceeded) as caught:
            await two.take(tokens, "m", 1)
        assert 55 < caught.value.retry_after <= 61
        await first.close()
        await second.close()


async def test_tokens_fit_when_told():
    """After the delay, and not before half of it."""
    with Machines() as machines:
        rates, windows = replica(machines.single().url, 1)
        tenant = Tenant(name="a", tokens_per_minute=100)
        assert await taken(rates, tenant, 100)
        with pytest.raises(QuotaExceeded) as caught:
            await rates.take(tenant, "m", 50)
        assert not await taken(rates, tenant, 50)
        await asyncio.sleep(caught.value.retry_after)
        assert await taken(rates, tenant, 50)
        await windows.close()


@pytest.mark.parametrize("name", ["redis", "valkey"])
async def test_a_window_that_ends_while_it_is_corrected(name):
    """Its key does not come back, which nothing would ever remove."""
    with Machines(name) as machines:
        server = machines.single()
        _, windows = replica(server.url)
        _, second = await windows.take("k", 100, 10)
        (key,) = server.call("KEYS", "*")
        server.call("PEXPIRE", key, 1_000)
        # Reads are answered meanwhile, so that a look at the window sees it, and writes wait for its end.
        server.call("CLIENT", "PAUSE", 60_000, "WRITE")
        correcting = asyncio.create_task(windows.correct("k", second, -5))
        await until(lambda: b"flags=b " in server.call("CLIENT", "LIST"))
        await until(lambda: not server.call("EXISTS", key))
        server.call("CLIENT", "UNPAUSE")
        await correcting
        assert not server.call("KEYS", "*")
        await windows.close()


async def test_a_store_that_is_away_refuses():
    """As STORE_UNAVAILABLE, within the time limit of store calls."""
    with Machines() as machines:
        server = machines.single()
        rates, windows = replica(server.url)
        tenant = Tenant(name="a", tokens_per_minute=100, requests_per_minute=5)
        assert await taken(rates, tenant)
        server.stop()
        for limited in (tenant, Tenant(name="a", requests_per_minute=5)):
            with pytest.raises(StoreUnavailable):
                await rates.take(limited, "m", 1)
        await windows.close()


class Watch:
    """What is known of the store."""

    available = True

    def failed(self, error: StoreUnavailable) -> None:
        self.available = False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_rates_are_counted_here_while_the_store_is_away(how: signal.Signals) -> None:
    """With the same limits, and together with the other servers again afterwards."""
    with Machines() as machines:
        server = machines.single()
        _, shared = replica(server.url)
        watch = Watch()
        windows = FallbackWindows(shared, watch, 60, timeout=1.0)
        rates = Rates(lambda: RequestWindows(windows, 60), windows)
        tenant = Tenant(name="a", tokens_per_minute=1_000, requests_per_minute=5)
        assert await taken(rates, tenant, 900)
        (server.stop if how is signal.SIGKILL else lambda: server.send(how))()
        held = await rates.take(tenant, "m", 800)
        assert not watch.available
        assert not await taken(rates, tenant, 500)
        await rates.settle(held, 300)
        assert [await taken(rates, tenant, 100) for _ in range(5)] == [True] * 4 + [False]
        (server.start if how is signal.SIGKILL else lambda: server.send(signal.SIGCONT))()
        watch.available = True
        other, others = replica(server.url)
        assert [await taken(rates, Tenant(name="b", requests_per_minute=1)) for _ in range(2)] == [
            True,
            False,
        ]
        assert not await taken(other, Tenant(name="b", requests_per_minute=1))
        await windows.close()
        await others.close()
