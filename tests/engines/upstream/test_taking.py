"""Batches that the consumer takes in the middle of the engine's own work, without a task that is woken."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.engine_runs import answer
from tests.support.http_peer import Peer, Server
from tests.support.openai_payloads import DONE, STOP, end, sums, text
from tests.support.raw_responses import STREAM
from tokengrpc.config import engine_settings
from tokengrpc.core.model import FinishReason
from tokengrpc.core.request import GenerationRequest
from tokengrpc.engines.openai.engine import create
from tokengrpc.engines.upstream.response.batching import PORTION
from tokengrpc.errors import EngineError, EngineTruncated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.engines.http.connection import Connection


class Consumer:
    """A consumer of a running generation, whose engine sends what the test says."""

    def __init__(self, batches: AsyncGenerator[Sequence[Delta], Any], connection: Connection) -> None:
        self.batches = batches
        self.taken: list[Delta] = []
        self.takes = True
        self._connection = connection

    def take(self, batch: Sequence[Delta]) -> bool:
        self.taken += batch
        return self.takes

    async def wait(self) -> asyncio.Task[Sequence[Delta]]:
        """Begins to wait for a batch."""
        waiting = asyncio.ensure_future(self.batches.asend(self.take))
        await asyncio.sleep(0)
        assert not waiting.done()
        return waiting

    def arrives(self, *payloads: bytes) -> None:
        """Delivers payloads of the engine, as the event loop does."""
        self._connection.data_received(b"".join(b"data: %b\n\n" % payload for payload in payloads))


@asynccontextmanager
async def consuming() -> AsyncIterator[Consumer]:
    """A consumer that has read the answer's beginning, `a`."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(STREAM + b"data: " + text("a") + b"\n\n")
        await peer.until_closed()

    async with Server(script) as server:
        engine = create(
            engine_settings(name="m", kind="openai", base_url=f"http://127.0.0.1:{server.port}"), None
        )
        await engine.start()
        try:
            async with (
                asyncio.timeout(10),
                aclosing(engine.generate(GenerationRequest(prompt="a"))) as batches,
            ):
                assert await anext(batches) == ()
                assert answer(list(await anext(batches))) == "a"
                (connection,) = engine._http._connections  # noqa: SLF001 - so that the test decides the turn of the loop
                yield Consumer(batches, connection)
        finally:
            await engine.close()


async def test_what_arrives_is_taken_at_once():
    """No turn of the loop passes, and the generator waits on. The end comes from the generator."""
    async with consuming() as consumer:
        waiting = await consumer.wait()
        for word in "bcd":
            consumer.arrives(text(word))
            assert answer(consumer.taken)[-1] == word
        await asyncio.sleep(0)
        assert not waiting.done()
        consumer.arrives(text("e", finish_reason="stop"), sums(7, 5), DONE)
        last = list(await waiting)
        assert (answer(consumer.taken), answer(last)) == ("bcd", "e")
        assert end(last)[0] is FinishReason.END


async def test_a_consumer_that_takes_no_more():
    """It gets an empty batch, and what follows from the generator."""
    async with consuming() as consumer:
        waiting = await consumer.wait()
        consumer.takes = False
        consumer.arrives(text("b"))
        consumer.arrives(text("c"))
        assert await waiting == ()
        assert answer(list(await anext(consumer.batches))) == "c"
        assert answer(consumer.taken) == "b"


async def test_what_arrives_before_the_generator_waits():
    """It comes from the generator, in order."""
    async with consuming() as consumer:
        consumer.arrives(text("b"))
        assert answer(list(await consumer.batches.asend(consumer.take))) == "b"
        assert not consumer.taken


async def test_a_large_chunk_is_left_to_the_generator():
    """Its portions come one by one, so that other tasks run between them."""
    async with consuming() as consumer:
        waiting = await consumer.wait()
        consumer.arrives(*[text("b" * 100)] * (2 * PORTION // 100))
        found = list(await waiting)
        assert 0 < len(answer(found)) < PORTION
        while len(answer(found)) < 2 * PORTION // 100 * 100:
            found += await consumer.batches.asend(consumer.take)
        assert not consumer.taken


async def test_a_body_that_is_cut():
    """What was taken before does not come again, and the error comes from the generator."""
    async with consuming() as consumer:
        waiting = await consumer.wait()
        consumer.arrives(text("b"))
        consumer._connection.transport.abort()  # noqa: SLF001
        with pytest.raises(EngineTruncated):
            await waiting
        assert answer(consumer.taken) == "b"


async def test_an_error_of_the_engine():
    """It ends the output."""
    async with consuming() as consumer:
        waiting = await consumer.wait()
        consumer.arrives(text("b"), b'{"error":{"message":"out of memory"}}')
        assert answer(list(await waiting)) == "b"
        with pytest.raises(EngineError, match="out of memory"):
            await consumer.batches.asend(consumer.take)


@pytest.mark.parametrize("rest", [(), (sums(7, 2), DONE)])
async def test_cancelled_in_the_turn_in_which_the_end_arrives(rest: tuple[bytes, ...]):
    """The output is complete: nothing of it is lost, and its end comes once."""
    async with consuming() as consumer:
        waiting = await consumer.wait()
        consumer.arrives(text("b"), STOP, *rest)
        waiting.cancel()
        last = list(await waiting)
        assert answer(last) == "b"
        assert [delta.finish.reason for delta in last if delta.finish is not None] == [FinishReason.END]
