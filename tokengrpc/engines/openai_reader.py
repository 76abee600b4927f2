"""Reads a stream to its end and decodes it, portion by portion."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.engines.openai_portions import PORTION, portions, slices
from tokengrpc.errors import EngineProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokengrpc.engines.http_connection import Response
    from tokengrpc.engines.openai_chunks import ChunkDecoder
    from tokengrpc.engines.sse import SSEDecoder
    from tokengrpc.model import Delta

# After the finish, this long is waited for the usage and the end mark.
_AFTER_FINISH_SECONDS = 2.0


class Reader:
    """Reads a body, and what follows the finish for a bounded time: the answer is complete without it."""

    def __init__(self, response: Response) -> None:
        """`read` is the response's own."""
        self.read = response.read
        self._deadline: float | None = None
        self._last = False

    async def read_rest(self) -> bytes:
        """As `Response.read`; raises TimeoutError when the time is over and what had come then was read."""
        if self._last:
            raise TimeoutError
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + _AFTER_FINISH_SECONDS
        self._last = now >= self._deadline
        async with asyncio.timeout_at(self._deadline):
            return await self.read()


def decode(chunk: bytes, events: SSEDecoder, decoder: ChunkDecoder) -> Iterable[Sequence[Delta]]:
    """Decodes when it is iterated. No bytes are the body's end."""
    if len(chunk) <= PORTION:
        return _decode_slice(chunk, events, decoder)
    return (
        batch for part in slices(chunk) if not decoder.ended for batch in _decode_slice(part, events, decoder)
    )


def _decode_slice(chunk: bytes, events: SSEDecoder, decoder: ChunkDecoder) -> Sequence[Sequence[Delta]]:
    try:
        payloads = events.feed(chunk) if chunk else events.close()
    except EngineProtocolError as error:
        return (decoder.cut(error),)
    return portions(payloads, decoder.feed(payloads) if chunk else decoder.end(payloads))
