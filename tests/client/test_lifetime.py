"""Where a client may be created, used and closed: at import, in several event loops, in forked processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

import tokengrpc
from tests.support import commands
from tests.support.harness import serving
from tokengrpc import SyncTokenStreamClient, TokenStreamClient, TokenStreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

FORKS = """
import asyncio, os, sys
from tokengrpc import SyncTokenStreamClient, TokenStreamClient

target = sys.argv[1]
blocking, client = SyncTokenStreamClient(target), TokenStreamClient(target)


async def read():
    stream = client.stream("hello", max_tokens=3)
    async with stream:
        async for _ in stream:
            pass
    return stream.text


for _ in range(2):
    child = os.fork()
    if child == 0:
        stream = blocking.stream("hello", max_tokens=3)
        list(stream)
        os._exit(0 if stream.text and asyncio.run(read()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert asyncio.run(read())
"""


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with commands.serving("--pace", "1000") as server:
        yield server.target


async def read(client: TokenStreamClient) -> str:
    stream = client.stream("hello", max_tokens=3)
    async with stream:
        async for _ in stream:
            pass
    return stream.text


def test_a_client_outlives_the_event_loops_that_use_it(target: str) -> None:
    """It is created outside any loop, and opens a channel in each loop."""
    client = TokenStreamClient(target)
    assert all(asyncio.run(read(client)) for _ in range(3))
    asyncio.run(client.close())


def test_event_loops_in_several_threads_share_a_client(target: str) -> None:
    """Each loop reads its own streams, at the same time as the others."""
    client = TokenStreamClient(target)
    together = threading.Barrier(3)

    def work() -> str:
        async def main() -> str:
            together.wait()
            return await read(client)

        return asyncio.run(main())

    with ThreadPoolExecutor(3) as pool:
        assert all(future.result() for future in [pool.submit(work) for _ in range(3)])


def test_channels_of_closed_loops_are_dropped(target: str) -> None:
    """The process does not keep a connection for each loop that it ever ran."""
    client = TokenStreamClient(target)

    port = int(target.rpartition(":")[2])

    def connections() -> int:
        rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
        established = (row[2] for row in rows if row[3] == "01")
        return sum(int(remote.rpartition(":")[2], 16) == port for remote in established)

    for _ in range(3):
        asyncio.run(read(client))
    before = connections()
    for _ in range(20):
        asyncio.run(read(client))
    assert connections() < before + 10


def test_a_client_made_at_import_works_in_forked_workers(target: str) -> None:
    """A parent that has made no call yet forks workers, as application servers do."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS, target], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_a_closed_client_says_so() -> None:
    """Every call raises the client's own error, and streams that were made before do too."""
    async with serving() as served:
        client = TokenStreamClient(served.target)
        made_before = client.stream("hello")
        await client.close()
        calls = [read(client), client.get("x"), client.cancel("x"), client.count("x"), client.models()]
        for call in (*calls, client.generate("x"), anext(made_before.messages())):
            with pytest.raises(
                TokenStreamError, match="CLIENT_CLOSED: this client has been closed"
            ) as caught:
                await call
            assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
        await client.close()
        assert not served.tasks


def test_a_closed_blocking_client_says_so(target: str) -> None:
    """As the asyncio client does."""
    client = SyncTokenStreamClient(target)
    client.close()
    for call in (client.models, lambda: client.get("x"), lambda: list(client.stream("hello"))):
        with pytest.raises(TokenStreamError, match="CLIENT_CLOSED"):
            call()


async def test_reprs_show_what_a_reader_looks_for() -> None:
    """The address of a client; id, state and size of a stream. Never the token."""
    async with serving() as served, TokenStreamClient(served.target, token="secret") as client:
        assert repr(client) == f"<TokenStreamClient of {served.target}>"
        stream = client.stream("hello", generation_id="one", max_tokens=2)
        assert repr(stream) == "<TokenStream one: not started, 0 tokens>"
        async for _ in stream:
            assert repr(stream).startswith("<TokenStream one: running, ")
        assert repr(stream) == "<TokenStream one: MAX_TOKENS, 2 tokens>"
        assert repr(SyncTokenStreamClient("x:1")) == "<SyncTokenStreamClient of x:1>"


def test_the_package_shows_its_public_names() -> None:
    """`dir` and completion show the client's names and the version, and nothing else."""
    assert dir(tokengrpc) == sorted([*tokengrpc.__all__, "__version__"])
