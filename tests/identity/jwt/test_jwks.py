"""Keys of an issuer: fetched with bounds, renewed when they rotate, and kept for a while when it is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.support.admin_pages import ADMIN, scrape, series
from tests.support.admin_service import having
from tests.support.harness import collect, serving, until
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, hang
from tokengrpc.config import ConfigError, TenantSettings
from tokengrpc.errors import StoreUnavailable
from tokengrpc.identity.jwt.jwks import IssuerKeys
from tokengrpc.identity.jwt.settings import JwtSettings
from tokengrpc.identity.jwt.verification_keys import MAX_BYTES


class Clock:
    """Clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys_of(source: str, clock: Clock, **more) -> IssuerKeys:
    return IssuerKeys(JwtSettings(issuer=ISSUER, audience=AUDIENCE, jwks=source, **more), clock)


@pytest.fixture
async def issuer():
    async with Issuer() as opened:
        yield opened


@pytest.fixture
async def clock():
    return Clock()


@pytest.fixture
async def keys(issuer, clock):
    made = keys_of(issuer.url, clock, fetch_timeout=60)
    await made.start()
    yield made
    await made.close()


async def test_a_new_key_is_fetched_when_a_token_names_it(keys, issuer, clock):
    """At most once per interval, whatever callers send."""
    issuer.add("new")
    assert await keys.find("new", "ES256") is None
    for name in range(100):
        assert await keys.find(f"unknown-{name}", "ES256") is None
    assert issuer.fetches == 1
    clock.now += 10
    found = await asyncio.gather(*(keys.find(kid, "ES256") for kid in ("new", "a", "b", "new")))
    assert [key is not None for key in found] == [True, False, False, True]
    assert issuer.fetches == 2


async def test_old_keys_are_fetched_again(keys, issuer, clock):
    """A bit early, while calls go on. A call that finds them old waits: a removed key never counts longer."""
    del issuer.keys["ES256"]
    issuer.add("next")
    clock.now += 239
    assert await keys.find("ES256", "ES256") is not None
    assert issuer.fetches == 1
    clock.now += 1
    assert await keys.find("ES256", "ES256") is not None
    assert await keys.find("next", "ES256") is not None  # waits for the running fetch
    assert issuer.fetches == 2
    del issuer.keys["next"]
    issuer.add("third")
    clock.now += 300
    assert await keys.find("next", "ES256") is None
    assert issuer.fetches == 3


async def test_nobody_waits_twice_for_an_issuer_that_hangs(issuer, clock):
    """Calls go on with the keys at hand, and fetches go on beside them."""
    keys = keys_of(issuer.url, clock, fetch_timeout=1)
    await keys.start()
    issuer.answer = hang
    clock.now += 300
    with capture_logs() as lines:
        assert await keys.find("ES256", "ES256") is not None
        assert len(lines) == 1, "the first call waits"
        clock.now += 10
        assert await keys.find("ES256", "ES256") is not None
        assert len(lines) == 1, "the second call does not"
        await until(lambda: len(lines) == 2)
    await keys.close()


async def test_keys_are_kept_while_the_issuer_is_away(keys, issuer, clock):
    """For `keep_time`, then nobody is let in, and the caller may try again. One line says so each time."""
    await issuer.leave()
    with capture_logs() as lines:
        clock.now += 3599
        assert await keys.find("ES256", "ES256") is not None
        assert len(lines) == 1
        with pytest.raises(StoreUnavailable, match="cannot be fetched: try again later") as caught:
            await keys.find("unknown", "ES256")
        assert 0 < caught.value.retry_after <= 10
        clock.now += 1
        with pytest.raises(StoreUnavailable):
            await keys.find("ES256", "ES256")
    assert [line["event"] for line in lines] == ["the keys of the issuer cannot be fetched"]
    assert lines[0]["cause"] == "Connection refused"


async def test_an_issuer_that_comes_later_is_used(clock):
    """The server starts without it, and the log says so."""
    async with Issuer() as issuer:
        issuer.answer = status(503)
        with capture_logs() as lines:
            keys = keys_of(issuer.url, clock)
            await keys.start()
            with pytest.raises(StoreUnavailable):
                await keys.find("ES256", "ES256")
            assert issuer.fetches == 1
            issuer.answer = None
            clock.now += 10
            assert await keys.find("ES256", "ES256") is not None
        assert [line["log_level"] for line in lines] == ["warning", "info"]
        assert lines[0]["cause"] == "status 503"
        await keys.close()


async def test_metrics_tell_that_the_issuer_is_away(tmp_path, monkeypatch):
    """In a chain of authenticators too, and that it is back."""
    monkeypatch.setenv("OPS_KEY", "secret")
    issuer = Issuer()
    file = issuer.write(tmp_path / "jwks.json")
    jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(file), "min_refresh_interval": 0.001}
    settings: dict[str, Any] = {"authenticator": "jwt,static", "plugins": {"jwt": jwt}}
    settings["tenants"] = (TenantSettings(name="search"), TenantSettings(name="ops", key_env="OPS_KEY"))
    available = series("tokengrpc_store_available", store="issuer")
    async with serving(**settings, admin_listen=ADMIN) as server:
        assert available not in await scrape(server)
        for missing, value in ((True, 0), (False, 1)):
            if missing:
                file.unlink()
            else:
                issuer.write(file)
            # The server has no such key, so it fetches them again.
            header = {"kid": "unknown"}
            outcome = await collect(server.stream(**having(issuer.token(header=header))))
            assert outcome.info.reason == ("STORE_UNAVAILABLE" if missing else "UNAUTHENTICATED")
            assert (await scrape(server))[available] == value


def status(code: int, body: bytes = b"", **headers: str):
    async def answer(_request):
        return web.Response(status=code, body=body, headers=headers)

    return answer


async def endless(request):
    """Answer that never ends: 64 KiB at a time."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65_536)


BAD_ANSWERS = {
    "a redirect": (status(302, Location="https://elsewhere.example/"), "status 302"),
    "not JSON": (status(200, b"<html>"), "it is not a JWKS"),
    "no key set": (status(200, b"[]"), "it is not a JWKS"),
    "nested": (status(200, b"[" * 100_000), "it is not a JWKS"),
    "no keys": (status(200, b'{"keys": []}'), "it has no public key for signatures"),
    "many keys": (status(200, b'{"keys": [%b]}' % b",".join([b"{}"] * 101)), "it has more than 100 keys"),
    "endless": (endless, f"it has more than {MAX_BYTES} bytes"),
    "never": (hang, "no answer within 2 s"),
}


@pytest.mark.parametrize(("answer", "cause"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_bad_answers_change_no_keys(issuer, clock, answer, cause):
    """The keys at hand stay, and the log says why."""
    keys = keys_of(issuer.url, clock, fetch_timeout=2 if answer is hang else 60)
    await keys.start()
    issuer.answer = answer
    clock.now += 10
    with capture_logs() as lines, pytest.raises(StoreUnavailable):
        await keys.find("new", "ES256")
    assert [line["cause"] for line in lines] == [cause]
    assert await keys.find("ES256", "ES256") is not None
    await keys.close()


async def test_a_caller_that_leaves_stops_no_fetch(keys, issuer, clock):
    """Others wait for the same one."""
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(_request):
        arrived.set()
        await go.wait()
        return web.json_response(issuer.jwks())

    issuer.add("new")
    issuer.answer = slow
    clock.now += 10
    first = asyncio.create_task(keys.find("new", "ES256"))
    await arrived.wait()
    second = asyncio.create_task(keys.find("new", "ES256"))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second is not None
    assert issuer.fetches == 2


async def test_a_running_fetch_ends_with_the_server(issuer, clock):
    """Nothing is left behind."""
    keys = keys_of(issuer.url, clock)
    await keys.start()
    issuer.answer = hang
    clock.now += 301
    await keys.find("ES256", "ES256")
    await until(lambda: issuer.fetches == 2)
    await keys.close()
    running = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    assert not [name for name in running if name.startswith("IssuerKeys")]


async def test_a_file_is_read_again(tmp_path, clock):
    """As a URL is. At start, it must be there."""
    file = tmp_path / "jwks.json"
    with pytest.raises(ConfigError) as caught:
        await keys_of(str(file), clock).start()
    assert str(caught.value) == f"plugins.jwt.jwks: {file} cannot be used: No such file or directory"
    issuer = Issuer()
    issuer.write(file)
    keys = keys_of(str(file), clock)
    await keys.start()
    issuer.add("new")
    issuer.write(file)
    clock.now += 10
    assert await keys.find("new", "ES256") is not None
    file.write_bytes(b" " * (MAX_BYTES + 1))
    clock.now += 10
    with pytest.raises(StoreUnavailable):
        await keys.find("newer", "ES256")


def test_a_file_of_an_authority_must_be_one(tmp_path):
    """The error is one line."""
    with pytest.raises(ConfigError, match=r"^plugins\.jwt\.ca_file: .*none\.pem cannot be used: No such "):
        keys_of("https://issuer.example/jwks", Clock(), ca_file=str(tmp_path / "none.pem"))
