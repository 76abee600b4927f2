"""Shortages of this process are told apart from failures of engines."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2
from tokenstreaming.v1 import token_stream_pb2 as api

from tests.support.harness import collect, failed, serving
from tests.support.http_peer import Server, always_ok, client
from tokengrpc.core.breaker import AttemptOutcome, classify_outcome
from tokengrpc.errors import EngineUnavailable, Overloaded
from tokengrpc.shortages import Shortages, lacks_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.engines.http.connect import Place, Resolve


def failing(error: Exception) -> Resolve:
    async def resolve_host(place: Place) -> list[str]:
        raise error

    return resolve_host


@contextmanager
def no_file_left() -> Iterator[None]:
    """Lowers the limit of this process so that it can open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.open(os.devnull, os.O_RDONLY)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "error",
    [
        *[OSError(number, os.strerror(number)) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)],
        *[OSError(number, os.strerror(number)) for number in (errno.ENOBUFS, errno.EADDRNOTAVAIL)],
        socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"),
        RuntimeError("can't start new thread"),
        MemoryError(),
    ],
    ids=str,
)
@pytest.mark.parametrize("proxy", ["none", "http://127.0.0.1:1"])
async def test_a_shortage_is_no_failure_of_the_engine(error: Exception, proxy: str):
    """The caller is told that the server is overloaded, and when to try again; the breaker learns nothing."""
    async with client(1, proxy=proxy, resolve_host=failing(error)) as http:
        with pytest.raises(Overloaded) as raised:
            await http.post("/x", b"{}")
    assert raised.value.retry_after
    assert classify_outcome(raised.value) is AttemptOutcome.NEUTRAL


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ECONNREFUSED, "refused"),
        OSError(errno.EHOSTUNREACH, "no route"),
        socket.gaierror(socket.EAI_NONAME, "unknown name"),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
    ],
    ids=str,
)
async def test_other_errors_are_failures_of_the_engine(error: Exception):
    """A refused connection and an unknown name say that the engine is away."""
    async with client(1, resolve_host=failing(error)) as http:
        with pytest.raises(EngineUnavailable):
            await http.post("/x", b"{}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_file_left(host: str):
    """With a real limit: by address and by name, and all is well when files can be opened again."""
    async with Server(always_ok) as server, client(server.port, host=host) as http:
        with no_file_left(), pytest.raises(Overloaded):
            await http.post("/x", b"{}")
        response = await http.post("/x", b"{}")
        assert response.head.status == 200
        response.abort()


def test_an_address_that_cannot_be_reached_is_no_shortage():
    """The kernel has one error for a lack of ports and for an address of a network that is not there."""
    assert lacks_ports("127.0.0.1", 9)
    assert not lacks_ports("255.255.255.255", 9)


def test_the_log_tells_once_a_minute():
    """One line for each kind of shortage, with what to do, however many calls it fails."""
    now = 0.0
    shortages = Shortages(lambda: now)
    with structlog.testing.capture_logs() as lines:
        for _ in range(100):
            shortages.error("open files")
        shortages.error("memory")
        now = 60.0
        shortages.error("open files")
    assert [line["short"] for line in lines] == ["open files", "memory", "open files"]
    assert "ulimit -n" in lines[0]["todo"]
    assert lines[0]["limit"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class NoThreads(ThreadPoolExecutor):
    """Threads as they are when the system has none left."""

    def submit(self, *_: Any, **__: Any) -> Any:
        """Raises what Python raises."""
        raise RuntimeError("can't start new thread")


async def test_calls_and_generations_without_threads_are_overloaded():
    """Inputs are counted and long requests are read on threads; the builtin engine needs one, too."""
    async with serving() as server:
        asyncio.get_running_loop().set_default_executor(NoThreads())
        ended = await collect(server.stream("g", prompt="a"))
        long = await collect(server.stream("l", prompt="a" * 100_000))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await server.stub.CountTokens(api.CountTokensRequest(request=api.StreamTokensRequest(prompt="a")))
    for outcome in (ended, long, failed(raised.value, [])):
        assert outcome.info is not None
        assert outcome.info.reason == "OVERLOADED"
        assert "threads" in outcome.message
        assert outcome.detail(error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() > 0
