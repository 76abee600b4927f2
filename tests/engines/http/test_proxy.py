"""Connections through a forward proxy, and which proxy is used."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import uvloop

from tests.support.forward_proxy import ForwardProxy
from tests.support.http_peer import Peer, Server, always_ok, client, drain
from tests.support.tls import server_context
from tokengrpc.config import ConfigError
from tokengrpc.engines.http.origin import Origin, TLSFiles
from tokengrpc.engines.http.proxy import Proxy
from tokengrpc.errors import EngineAuthFailed, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST = "engine.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> TLSFiles:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return TLSFiles(ca=str(file))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_https_goes_through_a_tunnel(loop: Callable[[], Any], authority: trustme.CA, trusted: TLSFiles):
    """TLS ends at the server, by its own name, and the connection is used again."""
    names: list[str | None] = []
    context = server_context(authority, HOST)
    context.sni_callback = lambda _, name, __: names.append(name)

    async def main() -> None:
        async with (
            Server(always_ok, context) as server,
            ForwardProxy({f"{HOST}:443": server.port}) as proxy,
            client(443, scheme="https", host=HOST, tls_files=trusted, proxy=proxy.url) as http,
        ):
            for _ in range(2):
                assert await drain(await http.post("/x", b"")) == (b"ok", None)
            assert proxy.requests == [f"CONNECT {HOST}:443 HTTP/1.1"]
            assert proxy.headers[0]["host"] == f"{HOST}:443"
        assert names == [HOST]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def test_http_goes_as_an_absolute_url():
    """The Host header is the server's, and a user and password reach the proxy alone in their header."""
    async with (
        Server(always_ok) as server,
        ForwardProxy({f"{HOST}:8000": server.port}, credentials="Basic dTpwIHc=") as proxy,
        client(8000, host=HOST, proxy=f"http://u:p%20w@127.0.0.1:{proxy.port}") as http,
    ):
        assert await drain(await http.post("/x", b"")) == (b"ok", None)
        assert proxy.requests == [f"POST http://{HOST}:8000/v1/x HTTP/1.1"]
        assert proxy.headers[0]["host"] == f"{HOST}:8000"


async def test_a_tunnel_with_a_user_and_password(authority: trustme.CA, trusted: TLSFiles):
    """They are sent with CONNECT, and not to the server."""
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with (
        Server(script, server_context(authority, HOST)) as server,
        ForwardProxy({f"{HOST}:443": server.port}, credentials="Basic dTpw") as proxy,
        client(
            443, scheme="https", host=HOST, tls_files=trusted, proxy=f"http://u:p@127.0.0.1:{proxy.port}"
        ) as http,
    ):
        assert await drain(await http.post("/x", b"")) == (b"ok", None)
    assert b"roxy-" not in seen[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_cannot_be_reached(scheme: str):
    """The error names the proxy as the cause, not its address."""
    async with ForwardProxy({}) as proxy:
        url = proxy.url
    async with client(443, scheme=scheme, host=HOST, proxy=url) as http:
        with pytest.raises(
            EngineUnavailable, match="its proxy cannot be reached: Connection refused"
        ) as caught:
            await http.post("/x", b"")
    assert "127.0.0.1" not in str(caught.value)


async def test_a_proxy_without_a_host_name():
    """The name is the proxy's, so the error names the proxy."""
    async with client(443, scheme="https", host=HOST, proxy="http://nowhere.invalid:3128") as http:
        with pytest.raises(EngineUnavailable, match="its proxy cannot be reached"):
            await http.post("/x", b"")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (None, EngineUnavailable, r"its proxy did not connect to it \(HTTP 502\)"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", EngineUnavailable, r"\(HTTP 403\)"),
        (b"HTTP/1.0 407 No\n\n", EngineAuthFailed, r"requires a valid user and password \(HTTP 407\)"),
        (b"220 mail.example ESMTP\r\n\r\n", EngineUnavailable, "its proxy does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", EngineUnavailable, "sent data before the tunnel"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, EngineUnavailable, "headers of more than 64 KiB"),
    ],
    ids=["502", "403", "407", "no HTTP", "early data", "long headers"],
)
async def test_a_proxy_that_opens_no_tunnel(answer: bytes | None, error: type[Exception], words: str):
    """The error names the proxy as the cause, and nothing is sent to the server."""
    async with (
        ForwardProxy({}, answer=answer) as proxy,
        client(443, scheme="https", host=HOST, proxy=proxy.url) as http,
    ):
        with pytest.raises(error, match=words):
            await http.post("/x", b"")
        assert http.stats().open_count == 0


async def test_a_proxy_that_hangs_up():
    """The error names the proxy as the cause."""

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")

    async with (
        Server(script) as proxy,
        client(443, scheme="https", host=HOST, proxy=f"http://127.0.0.1:{proxy.port}") as http,
    ):
        with pytest.raises(EngineUnavailable, match="its proxy closed the connection"):
            await http.post("/x", b"")


async def test_a_certificate_behind_a_proxy(authority: trustme.CA):
    """A certificate that nobody trusts is the server's fault, not the proxy's."""
    async with (
        Server(always_ok, server_context(authority, HOST)) as server,
        ForwardProxy({f"{HOST}:443": server.port}) as proxy,
        client(443, scheme="https", host=HOST, proxy=proxy.url) as http,
    ):
        with pytest.raises(EngineUnavailable, match="certificate verify failed") as caught:
            await http.post("/x", b"")
    assert "proxy" not in str(caught.value)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("part", ["CONNECT", "TLS handshake"])
def test_cancelling_a_tunnel(loop: Callable[[], Any], part: str):
    """The proxy sees the end at once, while it is asked and during the handshake."""

    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            if part != "CONNECT":
                await peer.answer(b"HTTP/1.1 200 OK\r\n\r\n")
                await peer.reader.readexactly(1)  # of the handshake
            reached.set()
            await peer.until_closed()

        reached = asyncio.Event()
        async with (
            Server(script) as proxy,
            client(443, scheme="https", host=HOST, proxy=f"http://127.0.0.1:{proxy.port}") as http,
        ):
            task = asyncio.ensure_future(http.post("/x", b""))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await proxy.all_done()
            assert http.stats().open_count == 0

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def test_a_proxy_that_takes_too_long():
    """The timeout of the connection includes the proxy, and the error names both."""

    async def script(peer: Peer) -> None:
        await peer.until_closed()

    async with (
        Server(script) as server,
        client(
            443,
            scheme="https",
            host=HOST,
            proxy=f"http://127.0.0.1:{server.port}",
            connect_timeout=0.1,
        ) as http,
    ):
        with pytest.raises(EngineUnavailable, match="through its proxy; check that both are running"):
            await http.post("/x", b"")
        await server.all_done()


NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the variables of proxies; all others are unset."""

    def set_variables(**values: str) -> None:
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize(
    ("url", "setting", "environment", "host"),
    [
        ("https://e.example", "", {}, None),
        ("https://e.example", "", {"HTTPS_PROXY": "http://p:1"}, "p"),
        ("https://e.example", "", {"https_proxy": "http://p:1"}, "p"),
        ("https://e.example", "", {"HTTPS_PROXY": "p:1"}, "p"),
        ("https://e.example", "", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://e.example", "", {"HTTP_PROXY": "http://p:1"}, "p"),
        ("http://e.example", "", {"HTTPS_PROXY": "http://p:1"}, None),
        ("http://e.example", "", {"ALL_PROXY": "http://p:1"}, "p"),
        ("https://e.example", "", {"ALL_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "q"),
        ("https://e.example", "http://o:1", {"HTTPS_PROXY": "http://p:1"}, "o"),
        ("https://e.example", "none", {"HTTPS_PROXY": "http://p:1"}, None),
        ("http://127.0.0.1:8000", "", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://localhost:8000", "", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://[::1]:8000", "", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://127.0.0.1:8000", "http://o:1", {}, "o"),
    ],
)
def test_which_proxy_is_used(
    variables: Callable[..., None], url: str, setting: str, environment: dict[str, str], host: str | None
):
    """The setting comes first, then the variable of the scheme, then ALL_PROXY."""
    variables(**environment)
    proxy = Origin.parse(url, proxy=setting).proxy
    assert (proxy.host if proxy else None) == host


@pytest.mark.parametrize(
    ("excluded", "url", "direct"),
    [
        ("e.example", "https://e.example", True),
        ("example", "https://e.example", True),
        (".example", "https://e.example", True),
        ("a.example, e.example ", "https://e.example", True),
        ("E.Example", "https://e.example", True),
        ("e.example:443", "https://e.example", True),
        ("e.example:8443", "https://e.example", False),
        ("xample", "https://e.example", False),
        ("*", "https://e.example", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("fd00::/8", "https://[fd00::1]", True),
        ("[fd00::1]", "https://[fd00::1]", True),
        ("", "https://e.example", False),
    ],
)
@pytest.mark.parametrize("setting", ["", "http://p:1"])
def test_no_proxy(variables: Callable[..., None], excluded: str, url: str, direct: bool, setting: str):
    """Hosts, domains, addresses and networks that it names are reached directly, however the proxy is set."""
    variables(NO_PROXY=excluded, HTTPS_PROXY="http://p:1")
    assert (Origin.parse(url, proxy=setting).proxy is None) is direct


def test_a_variable_with_a_proxy_of_another_kind(variables: Callable[..., None]):
    """It is refused with its name, because going around a proxy would be worse. Its password is not shown."""
    variables(ALL_PROXY="socks5://u:secret@p:1080")
    with pytest.raises(ValueError, match="ALL_PROXY must be http://HOST:PORT") as caught:
        Origin.parse("https://e.example")
    assert "secret" not in str(caught.value)


def test_the_password_is_in_no_repr():
    """A proxy in a message or traceback shows its host alone."""
    assert "secret" not in repr(Proxy.parse("http://user:secret@p:1"))
    assert "user" not in repr(Proxy.parse("http://user:secret@p:1"))


async def test_the_engine_is_named_when_it_cannot_start(variables: Callable[..., None]):
    """A variable that cannot be used is one line with the engine's name."""
    variables(HTTPS_PROXY="https://p:1")
    with pytest.raises(ConfigError, match=r"^engine e: the environment variable HTTPS_PROXY must be"):
        async with client(443, scheme="https", host=HOST):
            pass
