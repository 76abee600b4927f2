"""Engines' HTTP over real sockets: addresses, TLS, and leaving at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.support.harness import until
from tests.support.http_peer import CHUNKED, Peer, Server, always_ok, client, drain
from tests.support.tls import make_certificate
from tokengrpc.errors import EngineProtocolError, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.http_peer import Script
    from tokengrpc.engines.http.client import EngineHTTP
    from tokengrpc.engines.http.connect import Place, Resolve


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, that nobody trusts by itself."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    return certificate


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


class TestTLS:
    """https."""

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    async def test_requests(self, trusted: Path, host: str):
        """The server hears its name and HTTP/1.1, and the connection is used again."""
        names: list[str | None] = []
        context = server_tls(trusted)
        context.sni_callback = lambda _, name, __: names.append(name)
        async with (
            Server(always_ok, context) as server,
            client(server.port, scheme="https", host=host) as http,
        ):
            for _ in range(2):
                assert await drain(await http.post("/x", b"")) == (b"ok", None)
            assert len(server.peers) == 1
            tls = server.peers[0].writer.get_extra_info("ssl_object")
            assert tls.selected_alpn_protocol() == "http/1.1"
        assert names == ["localhost" if host == "localhost" else None]

    async def test_until_close(self, trusted: Path):
        """A body may end with the connection."""

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(b"HTTP/1.1 200 OK\r\n\r\nok")

        async with Server(script, server_tls(trusted)) as server, client(server.port, scheme="https") as http:
            assert await drain(await http.post("/x", b"")) == (b"ok", None)
            await until(lambda: http.stats().open_count == 0)

    async def test_a_certificate_that_nobody_trusts(self, certificate: Path):
        """It is EngineUnavailable, and no request is sent."""
        tls = server_tls(certificate)
        async with Server(always_ok, tls) as server, client(server.port, scheme="https") as http:
            with pytest.raises(EngineUnavailable, match="certificate"):
                await http.post("/x", b"")

    async def test_plain_text_where_tls_is_expected(self):
        """It is EngineUnavailable too."""

        async def script(peer: Peer) -> None:
            await peer.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with Server(script) as server, client(server.port, scheme="https") as http:
            with pytest.raises(EngineUnavailable, match=r"SSL|TLS|ssl"):
                await http.post("/x", b"")


class TestConnecting:
    """Names and addresses."""

    @pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64, "a..b"])
    async def test_no_such_host(self, host: str):
        """It is EngineUnavailable."""
        async with client(80, host=host) as http:
            with pytest.raises(EngineUnavailable, match="cannot be reached"):
                await http.post("/x", b"")

    async def test_what_is_no_http(self):
        """It is EngineProtocolError."""

        async def script(peer: Peer) -> None:
            await peer.answer(b"220 mail.example ESMTP\r\n")
            await peer.until_closed()

        async with Server(script) as server, client(server.port) as http:
            with pytest.raises(EngineProtocolError, match="does not begin with HTTP/1"):
                await http.post("/x", b"")
            await server.all_done()

    async def test_a_name(self):
        """The name localhost is found, whichever of its addresses listens."""
        async with Server(always_ok) as server, client(server.port, host="localhost") as http:
            assert await drain(await http.post("/x", b"")) == (b"ok", None)

    @pytest.mark.parametrize("silent", [True, False])
    async def test_an_address_that_does_not_answer(self, silent: bool):
        """The next one is tried soon, at once if it was refused; what is left over is closed."""
        addresses = resolving_to("127.0.0.2", "127.0.0.1")
        with contextlib.ExitStack() as stack:
            async with Server(always_ok) as server, client(server.port, resolve_host=addresses) as http:
                if silent:
                    fill(stack, server.port)
                assert await drain(await http.post("/x", b"")) == (b"ok", None)
                assert http.stats().open_count == 1

    @pytest.mark.parametrize("silent", [True, False])
    async def test_an_address_whose_tls_handshake_fails(self, trusted: Path, silent: bool):
        """The next one is tried, soon or at once; an address is good only when TLS is."""
        script = _silent if silent else _greeting
        addresses = resolving_to("127.0.0.2", "127.0.0.1")
        settings = {"scheme": "https", "host": "localhost", "resolve_host": addresses}
        async with (
            Server(always_ok, server_tls(trusted)) as server,
            second_server(script, server.port) as bad,
            client(server.port, **settings) as http,
        ):
            assert await drain(await http.post("/x", b"")) == (b"ok", None)
            await bad.all_done()
            assert (len(bad.peers), http.stats().open_count) == (1, 1)

    async def test_a_refusal_by_all(self):
        """It is EngineUnavailable."""
        async with Server(always_ok) as server:
            pass
        async with client(server.port, resolve_host=resolving_to("127.0.0.1", "127.0.0.2")) as http:
            with pytest.raises(EngineUnavailable, match=r"refused|Connect call failed"):
                await http.post("/x", b"")


def resolving_to(*addresses: str) -> Resolve:
    """A name service that knows these addresses for every name."""

    async def resolve(_: Place) -> list[str]:
        return list(addresses)

    return resolve


@contextlib.asynccontextmanager
async def second_server(script: Script, port: int) -> AsyncIterator[Server]:
    """A server at a second loopback address."""
    server = Server(script, host="127.0.0.2", port=port)
    try:
        await server.__aenter__()
    except OSError as error:
        pytest.skip(f"needs a second loopback address: {error}")
    try:
        yield server
    finally:
        await server.__aexit__()


def fill(stack: contextlib.ExitStack, port: int) -> None:
    """Makes 127.0.0.2 silent: a listener that accepts nobody, its queue full."""
    listener = stack.enter_context(socket.socket())
    try:
        listener.bind(("127.0.0.2", port))
    except OSError as error:
        pytest.skip(f"needs a second loopback address: {error}")
    listener.listen(0)
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(("127.0.0.2", port))


async def _silent(peer: Peer) -> None:
    await peer.until_closed()


async def _greeting(peer: Peer) -> None:
    await peer.answer(b"220 mail.example ESMTP\r\n")
    await peer.until_closed()


async def _stalled(peer: Peer) -> None:
    await peer.request()
    await peer.answer(CHUNKED + b"2\r\nok\r\n")
    await peer.until_closed()


async def _read_on(http: EngineHTTP) -> None:
    response = await http.post("/x", b"")
    try:
        await drain(response)
    finally:
        http.release(response)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
class TestLeaving:
    """Whoever is cancelled, or out of time, leaves no connection behind."""

    @pytest.mark.parametrize(
        ("script", "scheme"),
        [(_silent, "http"), (_stalled, "http"), (_silent, "https")],
        ids=["headers", "body", "TLS handshake"],
    )
    def test_cancelling(self, loop: Callable[[], Any], script: Any, scheme: str):
        """The server sees the end at once."""

        async def main() -> None:
            async with Server(script) as server, client(server.port, scheme=scheme) as http:
                task = asyncio.ensure_future(_read_on(http))
                await until(lambda: server.peers)
                if script is _stalled:
                    await server.peers[0].answered.wait()
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await server.all_done()
                await until(lambda: http.stats().open_count == 0)

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())

    def test_cancelling_inside_tls(self, loop: Callable[[], Any], trusted: Path):
        """The same in the middle of a body."""

        async def main() -> None:
            tls = server_tls(trusted)
            async with Server(_stalled, tls) as server, client(server.port, scheme="https") as http:
                response = await http.post("/x", b"")
                task = asyncio.ensure_future(drain(response))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                http.release(response)
                await server.all_done()

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())

    def test_a_connection_that_takes_too_long(self, loop: Callable[[], Any]):
        """It is EngineUnavailable, and closed."""

        async def main() -> None:
            https = {"scheme": "https", "connect_timeout": 0.1}
            async with Server(_silent) as server, client(server.port, **https) as http:
                with pytest.raises(EngineUnavailable, match=r"no connection within 0\.1 s"):
                    await http.post("/x", b"")
                await server.all_done()

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())

    def test_cancelling_while_two_addresses_are_tried(self, loop: Callable[[], Any]):
        """Neither is left open."""

        async def main() -> None:
            https = {"scheme": "https", "resolve_host": resolving_to("127.0.0.1", "127.0.0.1")}
            async with Server(_silent) as server, client(server.port, **https) as http:
                task = asyncio.ensure_future(http.post("/x", b""))
                await until(lambda: len(server.peers) == 2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await server.all_done()

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())
