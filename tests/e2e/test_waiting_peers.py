"""Peers that keep the server waiting: each phase of a connection and of a call has its limit of time."""

from __future__ import annotations

import asyncio

import pytest

from attack.http2 import PREFACE, SERVICE, message
from tests.support.harness import failing, serving, until
from tests.support.http2_peer import http2_peer

# Longer than any limit of these tests by far, and shorter than the defaults.
PATIENCE = 20
BRIEF = {"request_timeout": 0.3}
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
# The beginning of a message of 1,000 bytes.
BEGINNING = message(bytes(1000))[:5]
CALLS = [SERVICE + name for name in ("StreamTokens", "ResumeTokens", "GenerateText", "GetGeneration")]


@pytest.mark.parametrize("path", [*CALLS, HEALTH + "Check", HEALTH + "Watch"])
@pytest.mark.parametrize("beginning", [b"", BEGINNING + b"\x0a"], ids=["nothing", "a part"])
async def test_a_request_that_does_not_arrive_ends_its_call(path: str, beginning: bytes):
    """DEADLINE_EXCEEDED. grpc.aio alone would wait for as long as the connection lives."""
    async with asyncio.timeout(PATIENCE), serving(limits=BRIEF) as server, http2_peer(server.target) as peer:
        await peer.greet()
        await peer.call(path)
        await peer.send(beginning)
        trailers = await peer.answer()
    assert b"grpc-status\x014" in trailers


async def test_a_trickle_of_bytes_does_not_prolong_the_time():
    """The limit is one for the whole request."""
    async with asyncio.timeout(PATIENCE), serving(limits=BRIEF) as server, http2_peer(server.target) as peer:
        await peer.greet()
        await peer.call(CALLS[0])
        await peer.send(BEGINNING)
        answer = asyncio.ensure_future(peer.answer())
        while not answer.done():
            await peer.send(b"\x0a")
            await asyncio.wait([answer], timeout=0.05)
        assert b"grpc-status\x014" in answer.result()


@pytest.mark.parametrize("path", [*CALLS, HEALTH + "Check"])
async def test_a_call_that_ends_without_a_request_is_answered(path: str):
    """grpc.aio alone would leave it open and never answer."""
    async with asyncio.timeout(PATIENCE), serving() as server, http2_peer(server.target) as peer:
        await peer.greet()
        await peer.call(path)
        await peer.send(b"", end=True)
        trailers = await peer.answer()
    assert b"grpc-status\x013" in trailers


async def test_only_so_many_requests_are_awaited():
    """Further calls are UNAVAILABLE at once, until one of the others has sent its request or ended."""
    async with asyncio.timeout(PATIENCE), serving(limits={"max_awaited_requests": 1}) as server:
        async with http2_peer(server.target) as one, http2_peer(server.target) as another:
            answers = {}
            for peer in (one, another):
                await peer.greet()
                await peer.call(CALLS[0])
                await peer.send(BEGINNING)
                answers[asyncio.ensure_future(peer.answer())] = peer
            [refused], [awaited] = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            assert b"grpc-status\x0214" in refused.result()
            await answers[awaited].send(bytes(1000), end=True)
            assert b"grpc-status\x013" in await awaited
        assert (await failing(server.get("unknown"))).code.name == "NOT_FOUND"


async def test_reflection_ends_when_nothing_is_asked():
    """With OK: clients keep its stream open while they make their own calls."""
    async with asyncio.timeout(PATIENCE), serving(limits=BRIEF) as server, http2_peer(server.target) as peer:
        await peer.greet()
        await peer.call(REFLECTION)
        assert b"grpc-status\x010" in await peer.answer()


@pytest.mark.parametrize(
    "beginning", [b"", PREFACE[:12], PREFACE], ids=["nothing", "half a preface", "a preface"]
)
async def test_a_connection_must_speak_http2_in_time(beginning: bytes):
    """The server closes it. gRPC's default is two minutes."""
    async with (
        asyncio.timeout(PATIENCE),
        serving(limits={"handshake_timeout": 0.3}) as server,
        http2_peer(server.target) as peer,
    ):
        await peer.raw(beginning)
        await peer.closed()


async def test_a_connection_without_calls_is_closed():
    """After `max_connection_idle`. A client's library connects again for its next call."""
    async with asyncio.timeout(PATIENCE), serving(limits={"max_connection_idle": 0.3}) as server:
        async with http2_peer(server.target) as peer:
            await peer.greet()
            await peer.closed()
        for _ in range(2):
            assert (await failing(server.get("unknown"))).code.name == "NOT_FOUND"
            await until(lambda: server.channel.get_state().name == "IDLE", "the channel is idle")


async def test_connections_beyond_the_limit_are_closed():
    """Those that are open stay, and calls on them are served. One that leaves makes room."""
    async with asyncio.timeout(PATIENCE), serving(limits={"max_connections": 2}) as server:
        await server.channel.channel_ready()
        async with http2_peer(server.target) as second:
            await second.greet()
            async with http2_peer(server.target) as third:
                await third.closed()
            await second.call(HEALTH + "Check")
            await second.send(message(b""), end=True)
            assert b"grpc-status" in await second.answer()
            assert (await failing(server.get("unknown"))).code.name == "NOT_FOUND"
        async with server.another() as fourth:
            await fourth.channel.channel_ready()
            assert (await failing(fourth.get("unknown"))).code.name == "NOT_FOUND"
