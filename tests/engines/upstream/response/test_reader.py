"""How long a response is read after its finish reason, on a virtual clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.openai_payloads import DONE, STOP, answer, chat, end, reasoning, sums, text
from tests.support.virtual_time import VirtualLoop
from tokengrpc.core.model import FinishReason
from tokengrpc.core.request import OutputOptions
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.upstream.response.reader import ResponseReader, read_batches
from tokengrpc.engines.upstream.response.sse import SSEDecoder
from tokengrpc.errors import EngineLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.core.model import Delta
    from tokengrpc.engines.http.connection import Response

TIMEOUT = 2.0


class Body:
    """The body of a response, of which the test sends one payload after another."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        return await self.chunks.get()


class Reading:
    """A response that is being read to its end."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._body = Body()
        self.deltas: list[Delta] = []
        self.decoder = ChunkDecoder("test", OutputOptions())
        response: Response = self._body  # type: ignore[assignment] # the reader needs only its `read`
        self._reader = ResponseReader(response, SSEDecoder(), self.decoder, usage_timeout=TIMEOUT)
        self._task = loop.create_task(self._read())

    async def _read(self) -> None:
        while not self.decoder.ended:
            for batch in await read_batches(self._reader, lambda _: EngineLost("broke")):
                self.deltas += batch

    def send(self, *payloads: bytes, after: float = 0.0) -> None:
        """Sends payloads after some seconds."""
        self._loop.advance(after)
        for payload in payloads:
            self._body.chunks.put_nowait(b"data: " + payload + b"\n\n")
        self._loop.run()

    def ends_within(self, seconds: float) -> bool:
        """Whether the reading ends within some seconds, and not before."""
        assert not self._task.done()
        self._loop.advance(seconds)
        return self._task.done()


@pytest.fixture
def read() -> Iterator[Reading]:
    loop = VirtualLoop()
    reading = Reading(loop)
    yield reading
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run()
    loop.close()


def test_only_the_usage_is_outstanding(read: Reading):
    """After the finish reason of an answer, the wait is limited."""
    read.send(text("42"), STOP)
    assert not read.ends_within(TIMEOUT * 0.9)
    assert read.ends_within(TIMEOUT * 0.2)
    assert end(read.deltas)[0] is FinishReason.END


def test_the_wait_begins_anew_with_each_output(read: Reading):
    """A server that sends a finish reason with each piece is read as long as pieces come."""
    for piece in "abcdefgh":
        read.send(text(piece, finish_reason="stop"), after=TIMEOUT * 0.8)
    assert not read.ends_within(TIMEOUT * 0.9)
    assert read.ends_within(TIMEOUT * 0.2)
    assert (answer(read.deltas), end(read.deltas)[0]) == ("abcdefgh", FinishReason.END)


def test_output_after_an_early_finish_has_no_limit(read: Reading):
    """Between a finish reason that output has followed and the next one, only the core's clocks count."""
    read.send(text("a", finish_reason="stop"))
    read.send(text("b"), after=TIMEOUT * 0.8)
    read.send(text("c"), after=TIMEOUT * 5)
    read.send(chat({}, finish_reason="length"), after=TIMEOUT * 5)
    assert not read.ends_within(TIMEOUT * 0.9)
    read.send(sums(7, 3), DONE)
    assert (answer(read.deltas), end(read.deltas)[0]) == ("abc", FinishReason.MAX_TOKENS)


def test_a_finish_with_the_reasoning(read: Reading):
    """If only reasoning has come, its answer is waited for longer, but not for ever."""
    read.send(chat({"reasoning": "Hm"}, finish_reason="stop"))
    read.send(text("42"), after=TIMEOUT * 3)
    read.send(sums(7, 3), DONE, after=TIMEOUT * 3)
    assert (reasoning(read.deltas), answer(read.deltas)) == ("Hm", "42")
    assert end(read.deltas)[0] is FinishReason.END


@pytest.mark.parametrize("words", [("stop",), ("stop", "stop")])
def test_reasoning_alone(read: Reading, words: tuple[str, ...]):
    """An answer that is reasoning alone ends as its engine said."""
    read.send(chat({"reasoning": "Hm"}), *[chat({}, finish_reason=word) for word in words])
    assert not read.ends_within(TIMEOUT * 5)
    assert read.ends_within(60)
    assert (reasoning(read.deltas), end(read.deltas)[0]) == ("Hm", FinishReason.END)


@pytest.mark.parametrize("late", [b"nonsense", chat({}, finish_reason="stop"), b'{"choices":[]}', sums(7, 2)])
def test_other_payloads_do_not_extend_the_wait(read: Reading, late: bytes):
    """Only output extends it."""
    read.send(text("42"), STOP)
    for _ in range(3):
        read.send(late, after=TIMEOUT * 0.3)
    assert read.ends_within(TIMEOUT * 0.2)
