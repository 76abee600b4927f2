"""What happens between callers and a scripted server: dropped connections, restarts, shutdown."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import grpc
import pytest
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.checksums import checksum_of
from tokengrpc import (
    GenerationLostError,
    ResumePolicy,
    SyncTokenStreamClient,
    TokenStreamClient,
    UnavailableError,
)
from tokengrpc.client.stubs import sync_stub
from tokengrpc.testing import Hold, Reply, serve

WORDS = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize("tokens", [1, 4, 10])
def test_a_client_resumes_after_a_dropped_connection(tokens: int) -> None:
    """It receives the whole answer, each token once, of one generation."""
    with serve(WORDS) as server, SyncTokenStreamClient(server.target) as client:
        server.drop_connections(after_tokens=tokens)
        with client.stream("Count.") as stream:
            messages = list(stream.messages())
        assert stream.text == WORDS
        assert len(server.requests) == 1
    (attached,) = [at for at, message in enumerate(messages) if message.HasField("attached")]
    # gRPC may discard what has arrived and was not read when the connection ended.
    assert sum(token.count for message in messages[:attached] for token in message.tokens) <= tokens


def test_nothing_follows_the_tokens_before_a_drop() -> None:
    """The engine waits for it. A caller that resumes by hand proves what it has, and gets the rest."""
    request = pb.StreamTokensRequest(prompt="x", generation_id="g", recovery={"disconnect_action": 2})
    with serve(WORDS) as server, grpc.insecure_channel(server.target) as channel:
        server.drop_connections(after_tokens=3)
        received = []
        with pytest.raises(grpc.RpcError) as lost:
            received.extend(sync_stub(channel).StreamTokens(request))
        assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        before = [token.text for message in received for token in message.tokens]
        assert before == ["one", " two", " three"][: len(before)]
        cursor = pb.ResumeTokensRequest(generation_id="g")
        if received:
            cursor.after_sequence = received[-1].sequence
            cursor.log_incarnation = received[0].started.log_incarnation
            cursor.output_checksum = checksum_of(received)
        rest = sync_stub(channel).ResumeTokens(cursor, wait_for_ready=True)
        assert "".join((*before, *(token.text for message in rest for token in message.tokens))) == WORDS


def test_connections_can_be_dropped_at_a_moment() -> None:
    """A hold says when."""
    hold = Hold()
    with (
        serve(Reply("a", hold, "b")) as server,
        SyncTokenStreamClient(server.target) as client,
        client.stream("x") as stream,
    ):
        tokens = iter(stream)
        assert next(tokens).text == "a"
        server.drop_connections()
        hold.release()
        assert [token.text for token in tokens] == ["b"]


def test_a_unary_call_loses_its_connection() -> None:
    """In the middle of its generation. The client makes the call again, which attaches."""
    with serve(WORDS) as server, SyncTokenStreamClient(server.target) as client:
        server.drop_connections(after_tokens=3)
        assert client.generate("Count.").text == WORDS
        assert len(server.requests) == 1


@pytest.mark.parametrize("replaced_by", ["restart", "drop_connections"])
def test_a_drop_that_nobody_reached_is_replaced(replaced_by: str) -> None:
    """The engine does not wait for it any more."""
    with serve(WORDS, "again") as server, SyncTokenStreamClient(server.target) as client:
        server.drop_connections(after_tokens=100)
        assert client.generate("Count.").text == WORDS
        getattr(server, replaced_by)()
        server.script(WORDS * 20)
        assert client.generate("Count.").text == WORDS * 20


def test_a_restarted_server_knows_no_generation() -> None:
    """At the same address. A stream that has begun is lost; another one starts again."""
    hold = Hold()
    with serve(Reply("a", hold, "b"), "again") as server, SyncTokenStreamClient(server.target) as client:
        target = server.target
        with client.stream("x") as stream:
            tokens = iter(stream)
            next(tokens)
            server.restart()
            with pytest.raises(GenerationLostError) as lost:
                next(tokens)
        assert lost.value.partial_text == "a"
        assert server.target == target
        assert client.generate("y").text == "again"


async def test_a_draining_server_refuses_new_generations() -> None:
    """Running ones may finish. After a restart, new ones are served."""
    hold = Hold()
    impatient = ResumePolicy(patience=0.0)
    async with (
        serve(Reply("a", hold, "b"), "new") as server,
        TokenStreamClient(server.target) as client,
        TokenStreamClient(server.target, policy=impatient) as other,
    ):
        async with client.stream("x") as stream:
            tokens = aiter(stream)
            assert (await anext(tokens)).text == "a"
            server.drain()
            async with other.stream("y") as refused_stream:
                with pytest.raises(UnavailableError) as refused:
                    await anext(aiter(refused_stream))
            assert refused.value.reason == "DRAINING"
            hold.release()
            assert [token.text async for token in tokens] == ["b"]
        server.restart()
        assert (await client.generate("y")).text == "new"


async def test_a_drain_ends_what_does_not_finish() -> None:
    """After its time."""
    async with serve(Reply("a", Hold())) as server, TokenStreamClient(server.target) as client:
        async with client.stream("x") as stream:
            tokens = aiter(stream)
            await anext(tokens)
            server.drain(0.05)
            with pytest.raises(UnavailableError) as ended:
                await anext(tokens)
        assert (ended.value.reason, ended.value.partial_text) == ("DRAINING", "a")


def servers() -> int:
    return sum(thread.name == "tokengrpc.testing" for thread in threading.enumerate())


def test_an_interrupted_start_leaves_no_server() -> None:
    """As by Ctrl-C: the block is not entered, so nothing else would stop the server."""
    before = servers()
    main = threading.get_ident()

    def interrupt() -> None:
        while servers() == before:
            time.sleep(0)
        signal.pthread_kill(main, signal.SIGINT)

    interruption = threading.Thread(target=interrupt)

    def use_server() -> None:
        interruption.start()
        with serve():
            threading.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        use_server()
    interruption.join()
    assert servers() == before


@pytest.mark.parametrize("turns", range(3))
async def test_a_cancelled_start_leaves_no_server(turns: int) -> None:
    """Whenever the task is cancelled."""
    before = servers()

    async def enter() -> None:
        async with serve():
            await asyncio.Event().wait()

    entering = asyncio.create_task(enter())
    for _ in range(turns):
        await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert servers() == before
