"""The event loop of a server takes all wake-ups of gRPC's poller thread at once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest

uvloop = pytest.importorskip("uvloop", reason="uvloop is not available on this platform")

from tokengrpc.rpc.wake_ups import Loop  # noqa: E402 - it needs uvloop

CALLS = 500
OPERATIONS = 5
"""Operations of a call whose end gRPC tells the loop, of client and server."""
METHOD = "/test.Test/Call"


class CountedLoop(uvloop.Loop):
    """A loop that counts how often it was woken by the poller."""

    count = 0

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        if "PollerCompletionQueue" in repr((callback, *args)):
            callback = partial(self.counted, callback)
        super().add_reader(fd, callback, *args)

    def counted(self, callback: Any, *args: Any) -> None:
        self.count += 1
        callback(*args)


class CountedServerLoop(Loop, CountedLoop):
    """The loop of a server, counted."""


async def burst() -> None:
    """Starts calls at one moment, and waits for their ends."""

    async def behavior(request: bytes, _: object) -> bytes:
        return request

    server = grpc.aio.server()
    methods = {"Call": grpc.unary_unary_rpc_method_handler(behavior)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(METHOD)
        answers = await asyncio.gather(*(call(b"x", wait_for_ready=True) for _ in range(CALLS)))
    await server.stop(None)
    assert answers == [b"x"] * CALLS


def wake_ups(kind: type[CountedLoop]) -> int:
    """Returns how often the poller woke a loop on which a burst of calls was made and handled."""
    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(burst())
        loop = runner.get_loop()
        assert isinstance(loop, kind)
        return loop.count


def test_a_server_loop_reads_many_wake_ups_at_once():
    """Of hundreds of calls at one moment, whose operations end while others are handled."""
    assert 0 < wake_ups(CountedServerLoop) < 0.75 * CALLS * OPERATIONS


def test_grpc_itself_reads_one_wake_up_a_turn():
    """Once this fails, grpc.aio reads all of them itself, and `rpc/wake_ups.py` can go."""
    assert wake_ups(CountedLoop) >= CALLS * OPERATIONS
