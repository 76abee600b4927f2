"""gRPC's own limits never refuse a call in our name, or do it sharply and always."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from tokenstreaming.v1 import token_stream_pb2 as api
from tokenstreaming.v1 import token_stream_pb2_grpc as stubs

from tests.support.commands import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.commands import Server

CONNECTIONS = 10
# More than gRPC lets wait for a handler by default: 1,000.
CALLS = 2_000
# At least as long are the frames of one call: HEADERS, and DATA with gRPC's prefix.
CALL_BYTES = 45
KIB = 1024
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


@pytest.fixture(scope="module")
def server():
    with serving() as started:
        yield started


@asynccontextmanager
async def connected(server: Server, count: int) -> AsyncIterator[list[stubs.TokenStreamStub]]:
    """Stubs on as many connections."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(server.target, options=options) for _ in range(count)]
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        yield [stubs.TokenStreamStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


def unread_bytes(server: Server) -> int:
    """Returns how much the kernel holds that the server has not read yet (`rx_queue` in proc_net_tcp)."""
    port = f"{int(server.target.rpartition(':')[2]):04X}"
    # gRPC listens on IPv4 addresses through IPv6 sockets.
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port}"))


async def end_of(call: grpc.aio.UnaryUnaryCall) -> tuple[str, str]:
    """Returns the code and the details of a call's end."""
    return (await call.code()).name, await call.details()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc/net/tcp here")
async def test_calls_that_come_at_one_moment_are_all_served(server: Server):
    """Twice as many as gRPC lets wait by default, which would cancel some of them without a reason."""
    async with connected(server, CONNECTIONS) as all_stubs:
        # The server finds all calls in its sockets at once.
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            request = api.GetGenerationRequest(generation_id="unknown")
            calls = [all_stubs[n % CONNECTIONS].GetGeneration(request, timeout=60) for n in range(CALLS)]
            async with asyncio.timeout(60):
                while unread_bytes(server) < CALLS * CALL_BYTES:  # noqa: ASYNC110 - the kernel has no event for it
                    await asyncio.sleep(0.01)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        ends = await asyncio.gather(*map(end_of, calls))
    assert Counter(ends) == {("NOT_FOUND", ends[0][1]): CALLS}


@pytest.mark.parametrize(("size", "code"), [(15 * KIB, "OK"), (17 * KIB, "RESOURCE_EXHAUSTED")])
async def test_metadata_has_one_sharp_limit(server: Server, size: int, code: str):
    """16 KiB. By default, gRPC refuses metadata between 8 and 16 KiB at random."""
    metadata = (("x-padding", "x" * size),)
    async with connected(server, 1) as [stub]:
        calls = [stub.ListModels(api.ListModelsRequest(), metadata=metadata, timeout=60) for _ in range(40)]
        ends = await asyncio.gather(*map(end_of, calls))
    assert Counter(found for found, _ in ends) == {code: 40}


@pytest.mark.skipif(not SOMAXCONN.exists(), reason="no net.core.somaxconn here")
def test_connections_wait_in_the_kernel_while_the_server_is_busy(server: Server):
    """GRPC's listen backlog is the kernel's limit: far more than the 128 that programs often ask for."""
    count = min(500, int(SOMAXCONN.read_text()))
    assert count > 128
    host, _, port = server.target.rpartition(":")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        # With a full backlog, connecting takes a second or more: here it would end in a timeout.
        peers = [socket.create_connection((host, int(port)), timeout=0.9) for _ in range(count)]
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    for peer in peers:
        peer.close()
