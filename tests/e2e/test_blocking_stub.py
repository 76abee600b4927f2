"""The generated blocking stub, through pytest-grpc's fixtures, as an independent client.

pytest-grpc would start grpc's synchronous server. Its `grpc_server` fixture is replaced by the real server on
an event loop of its own. The channel and the stub are pytest-grpc's.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
import uvloop
from tokenstreaming.v1 import generation_pb2, input_pb2, token_stream_pb2_grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

DETACH = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)


@pytest.fixture(scope="module")
def grpc_addr() -> list[str]:
    """A placeholder; the server chooses a free port."""
    return []


@pytest.fixture(scope="module")
def grpc_server(grpc_addr: list[str]) -> Iterator[None]:
    ready, loops = threading.Event(), []

    async def main() -> None:
        stop = asyncio.Event()
        async with serving() as served:
            grpc_addr.append(served.target)
            loops.append((asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=uvloop.run, args=(main(),))
    thread.start()
    assert ready.wait(30)
    yield
    loop, stop = loops[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture(scope="module")
def grpc_create_channel(grpc_addr: list[str], grpc_server: None):
    return lambda credentials=None, options=None: grpc.insecure_channel(grpc_addr[0], options)


@pytest.fixture(scope="module")
def grpc_stub_cls():
    return token_stream_pb2_grpc.TokenStreamStub


def test_a_blocking_stream(grpc_stub) -> None:
    """Iterating yields `started`, tokens and `finished`."""
    request = pb.StreamTokensRequest(prompt="What is token streaming?", max_output_token_count=40)
    messages = list(grpc_stub.StreamTokens(request))
    assert messages[0].HasField("started")
    assert messages[-1].finished.finish_reason in {
        generation_pb2.FINISH_REASON_END,
        generation_pb2.FINISH_REASON_MAX_TOKENS,
    }
    tokens = [token for message in messages for token in message.tokens]
    assert [t.index for t in tokens] == [sum(t.count for t in tokens[:i]) for i in range(len(tokens))]
    assert "".join(token.text for token in tokens)


def test_a_blocking_resume(grpc_stub) -> None:
    """Resuming after each message of a complete stream yields the rest."""
    request = pb.StreamTokensRequest(
        generation_id="blocking", prompt="What is usage?", recovery=DETACH, max_output_token_count=200
    )
    whole = list(grpc_stub.StreamTokens(request))
    tokens = [token for message in whole for token in message.tokens]
    for message in whole[:-1]:
        rest = grpc_stub.ResumeTokens(
            pb.ResumeTokensRequest(generation_id="blocking", after_sequence=message.sequence)
        )
        seen = sum(len(m.tokens) for m in whole if m.sequence <= message.sequence)
        assert [token for m in rest for token in m.tokens] == tokens[seen:]


def test_many_blocking_callers_at_once(grpc_stub) -> None:
    """Each thread has its own channel and receives its own complete generation."""
    request = pb.GenerateTextRequest(
        request=pb.StreamTokensRequest(
            prompt="What is a deadline?", sampling=input_pb2.Sampling(temperature=0)
        )
    )
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: grpc_stub.GenerateText(request), range(64)))
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.generation.generation_id for answer in answers}) == 64
