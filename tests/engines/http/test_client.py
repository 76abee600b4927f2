"""Engines' HTTP over real sockets: requests, bodies, and connections that are used again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.support.harness import until
from tests.support.http_peer import CHUNKED, OK, Peer, Server, always_ok, client, drain
from tokengrpc.config import engine_settings
from tokengrpc.core.request import GenerationRequest
from tokengrpc.engines.http.client import EngineHTTP, read_body
from tokengrpc.engines.http.head import CutShort, Malformed
from tokengrpc.engines.http.origin import Origin
from tokengrpc.engines.openai.engine import create
from tokengrpc.errors import EngineProtocolError, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.engines.http.connection import Connection, Response


class TestRequests:
    """What goes out."""

    async def test_the_whole_request(self):
        """One write: the line, the headers, the length, the body."""
        seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def script(peer: Peer) -> None:
            seen.set_result(await peer.request())
            await peer.answer(OK)

        async with Server(script) as server, client(server.port) as http:
            response = await http.post("/chat/completions", b"{}")
            assert (response.head.status, await read_body(response)) == (200, b"ok")
        assert await seen == (
            b"POST /v1/chat/completions HTTP/1.1\r\n"
            b"Host: 127.0.0.1:%d\r\nUser-Agent: tokengrpc\r\nAccept-Encoding: identity\r\n"
            b"Content-Length: 2\r\n\r\n{}" % server.port
        )

    @pytest.mark.parametrize(
        ("url", "authority", "path"),
        [
            ("http://h/v1", "h", "/v1"),
            ("http://h:80", "h", ""),
            ("http://h:8000/", "h:8000", ""),
            ("https://H:443/a b/%C3%A9/", "h", "/a%20b/%C3%A9"),
            ("http://[::1]:8000/v1", "[::1]:8000", "/v1"),
            ("http://[::1]/é", "[::1]", "/%C3%A9"),
            ("http://bücher.example", "xn--bcher-kva.example", ""),
        ],
    )
    def test_urls(self, url: str, authority: str, path: str):
        """The Host header has the port unless it is the usual one; a path is quoted once."""
        origin = Origin.parse(url)
        assert (origin.authority, origin.path) == (authority, path)
        assert (origin.tls is not None) is url.startswith("https")

    def test_headers_with_line_breaks(self):
        """They are refused before anything is sent, and their values not shown."""
        with pytest.raises(ValueError, match="Authorization") as caught:
            EngineHTTP("e", "http://h", connect_timeout=1).open({"Authorization": "Bearer secret\r\nX: y"})
        assert "secret" not in str(caught.value)

    async def test_a_refusal_before_all_is_read(self):
        """The answer counts, and a connection with half a request on it is not used again."""

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await peer.until_closed()

        async with Server(script) as server, client(server.port) as http:
            response = await http.post("/x", b"x" * 30_000_000)
            assert (response.head.status, await response.read()) == (413, b"")
            await server.all_done()


class TestConnections:
    """When a connection is used again."""

    async def test_one_after_another(self):
        """Proper ends leave one connection for all."""
        async with Server(always_ok) as server, client(server.port) as http:
            for _ in range(5):
                assert await drain(await http.post("/x", b"")) == (b"ok", None)
            assert len(server.peers) == 1

    @pytest.mark.parametrize(
        "answer",
        [OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), OK + b"surplus", OK.replace(b"1.1", b"1.0")],
    )
    async def test_no_second_use(self, answer: bytes):
        """A server that wants to close, or says more than it should, gets no second request."""

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(answer)
            await peer.until_closed()

        async with Server(script) as server, client(server.port) as http:
            for _ in range(2):
                assert await drain(await http.post("/x", b"")) == (b"ok", None)
            assert len(server.peers) == 2
            await server.all_done()

    @pytest.mark.parametrize("reset", [True, False])
    async def test_an_idle_connection_that_breaks(self, reset: bool):
        """A request that meets the end of an idle connection is sent once more, on a new one."""

        async def script(peer: Peer) -> None:
            if len(server.peers) > 1:
                await always_ok(peer)
            await peer.request()
            await peer.answer(OK)
            await peer.request()
            if reset:
                peer.reset()

        async with Server(script) as server, client(server.port) as http:
            for _ in range(2):
                assert await drain(await http.post("/x", b"")) == (b"ok", None)
            assert len(server.peers) == 2

    async def test_a_cancel_after_the_answer_breaks_nothing(self):
        """A cancelled request whose answer has come does not close the connection of the next one."""
        requests: list[bytes] = []

        async def script(peer: Peer) -> None:
            while True:
                requests.append(await peer.request())
                await peer.answer(OK)

        class Watched(EngineHTTP):
            is_idle = False

            def answered(self, connection: Connection, response: Response, *, reusable: bool) -> None:
                super().answered(connection, response, reusable=reusable)
                self.is_idle = True

        async with Server(script) as server:
            http = Watched("e", f"http://127.0.0.1:{server.port}", connect_timeout=5.0)
            http.open({})
            first = asyncio.create_task(http.post("/first", b""))
            # Goes on in the loop's turn after the one in which the answer has come, before `first`.
            while not http.is_idle:  # noqa: ASYNC110 - an event would be later
                await asyncio.sleep(0)
            first.cancel()
            assert await drain(await http.post("/second", b"")) == (b"ok", None)
            with pytest.raises(asyncio.CancelledError):
                await first
            await http.close()
        assert [request.split()[1] for request in requests] == [b"/first", b"/second"]
        assert len(server.peers) == 1

    async def test_an_idle_connection_that_breaks_late(self):
        """A server that closes it only after a while may have begun: the request is not sent again."""

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(OK)
            await peer.request()

        async with Server(script) as server, client(server.port, resend_within=0.0) as http:
            assert await drain(await http.post("/x", b"")) == (b"ok", None)
            with pytest.raises(EngineUnavailable, match="closed without a response"):
                await http.post("/x", b"")
            assert len(server.peers) == 1

    @pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200"])
    async def test_no_second_try(self, beginning: bytes):
        """A new connection that breaks, or an answer that has begun, is the server's failure."""

        async def script(peer: Peer) -> None:
            await peer.request()
            if beginning and len(server.peers) == 1:
                await peer.answer(OK)
                await peer.request()
            await peer.answer(beginning)

        async with Server(script) as server, client(server.port) as http:
            if beginning:
                assert await drain(await http.post("/x", b"")) == (b"ok", None)
            with pytest.raises(EngineUnavailable, match="closed"):
                await http.post("/x", b"")
            assert len(server.peers) == 1

    async def test_idle_connections_are_closed(self):
        """After a while, so that the server does not do it in the middle of a request."""
        async with Server(always_ok) as server, client(server.port, keepalive=0.01) as http:
            await drain(await http.post("/x", b""))
            await until(lambda: http.stats().open_count == 0)
            await server.all_done()
            assert await drain(await http.post("/x", b"")) == (b"ok", None)
            assert len(server.peers) == 2

    async def test_a_server_that_speaks_first(self):
        """A refusal that comes before the request is its answer."""

        async def script(peer: Peer) -> None:
            await peer.answer(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n")

        async with Server(script) as server, client(server.port) as http:
            assert (await http.post("/x", b"")).head.status == 503
            await until(lambda: http.stats().open_count == 0)

    async def test_a_server_that_reads_no_more(self):
        """Its end is seen though most of the request is still to be sent."""

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.writer.write_eof()
            await left.wait()

        left = asyncio.Event()
        async with Server(script) as server, client(server.port) as http:
            with pytest.raises(EngineUnavailable, match="closed"):
                await http.post("/x", b"x" * 30_000_000)
            left.set()

    async def test_closing_ends_what_is_under_way(self):
        """A reader is told, and the server sees the end."""

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(CHUNKED)
            await peer.until_closed()

        async with Server(script) as server, client(server.port) as http:
            reading = asyncio.ensure_future(drain(await http.post("/x", b"")))
            await asyncio.sleep(0)
            await http.close()
            assert isinstance((await reading)[1], CutShort)
            await server.all_done()
            with pytest.raises(EngineUnavailable, match="not started"):
                await http.post("/x", b"")


class TestBodies:
    """How a body ends, and what comes before that."""

    @pytest.mark.parametrize(
        ("answer", "reset", "error"),
        [
            (CHUNKED + b"2\r\nok\r\n0\r\n\r\n", False, None),
            (CHUNKED + b"2\r\nok\r\n", False, CutShort),
            (CHUNKED + b"2\r\nok\r\nzz\r\n", False, Malformed),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", False, CutShort),
            (b"HTTP/1.1 200 OK\r\n\r\nok", False, None),
            (b"HTTP/1.1 200 OK\r\n\r\nok", True, ConnectionError),
            (CHUNKED + b"2\r\nok\r\n", True, ConnectionError),
        ],
        ids=["proper", "cut", "malformed", "short", "until close", "until reset", "reset"],
    )
    @pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
    def test_ends(self, answer: bytes, reset: bool, error: type | None, loop: Callable[[], Any]):
        """What came is read before the failure is told."""
        read = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(answer)
            if reset:
                await read.wait()  # a reset throws away what was not received yet
                peer.reset()

        async def main() -> None:
            async with Server(script) as server, client(server.port) as http:
                response = await http.post("/x", b"")
                assert await response.read() == b"ok"
                read.set()
                body, failure = await drain(response)
                assert body == b""
                assert failure is None if error is None else isinstance(failure, error)

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())

    async def test_a_reader_that_is_slow(self):
        """The server is stopped when much is unread, and goes on when it is read."""
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(CHUNKED)
            for _ in range(256):
                await peer.answer(chunk)
            await peer.answer(b"0\r\n\r\n")

        async with Server(script) as server, client(server.port) as http:
            response = await http.post("/x", b"")
            await until(lambda: response.paused)
            assert response.unread_bytes < 512 * 1024
            body, error = await drain(response)
            assert (len(body), error) == (256 * 65536, None)

    async def test_a_compressed_answer(self):
        """Nobody asked for it: it is EngineProtocolError, not an output without an end."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n"

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(head)

        async with Server(script) as server:
            base_url = f"http://127.0.0.1:{server.port}"
            engine = create(engine_settings(name="m", kind="openai", base_url=base_url), None)
            await engine.start()
            with pytest.raises(EngineProtocolError, match="compressed its response"):
                await anext(engine.generate(GenerationRequest(prompt="x")))
            await engine.close()

    async def test_a_body_over_the_bound(self):
        """What is no stream is read up to a MiB."""

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                await peer.answer(b"x" * 65536)

        async with Server(script) as server, client(server.port) as http:
            response = await http.post("/x", b"")
            assert 1024 * 1024 <= len(await read_body(response)) < 4 * 1024 * 1024
            http.release(response)
            await server.all_done()
