"""Reads a stream to its end and decodes it, portion by portion."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.engines.http.head import HTTPError
from tokengrpc.engines.upstream.batching import PORTION, portions, slices
from tokengrpc.errors import EngineProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.sse import SSEDecoder
    from tokengrpc.engines.upstream.stream_decoder import StreamDecoder
    from tokengrpc.errors import TokenGrpcError

# After the finish, this long is waited for the usage and the end mark.
_AFTER_FINISH_SECONDS = 2.0


class ResponseReader:
    """Reads a body, and what follows the finish for a bounded time: the answer is complete without it."""

    __slots__ = ("_deadline", "_last", "decoder", "events", "read", "response")

    def __init__(self, response: Response, events: SSEDecoder, decoder: StreamDecoder) -> None:
        """`read` is the response's own: a token costs no call more."""
        self.response = response
        self.events = events
        self.decoder = decoder
        self.read = response.read
        self._deadline: float | None = None
        self._last = False

    async def read_rest(self) -> bytes:
        """As `read`; raises TimeoutError when the time is over and what had come then was read."""
        if self._last:
            raise TimeoutError
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + _AFTER_FINISH_SECONDS
        self._last = now >= self._deadline
        async with asyncio.timeout_at(self._deadline):
            return await self.read()


async def read_on(
    reader: ResponseReader, lost: Callable[[Exception], TokenGrpcError]
) -> Iterable[Sequence[Delta]]:
    """What one read brings, portion by portion; `lost` names what broke the connection."""
    try:
        chunk = await (reader.read_rest() if reader.decoder.complete else reader.read())
    except (HTTPError, OSError) as error:
        return (reader.decoder.cut(lost(error)),)
    return decode(chunk, reader.events, reader.decoder)


def decode(chunk: bytes, events: SSEDecoder, decoder: StreamDecoder) -> Iterable[Sequence[Delta]]:
    """Decodes when it is iterated. No bytes are the body's end."""
    if len(chunk) <= PORTION:
        return _decode_slice(chunk, events, decoder)
    return (
        batch for part in slices(chunk) if not decoder.ended for batch in _decode_slice(part, events, decoder)
    )


def _decode_slice(chunk: bytes, events: SSEDecoder, decoder: StreamDecoder) -> Sequence[Sequence[Delta]]:
    try:
        payloads = events.feed(chunk) if chunk else events.close()
    except EngineProtocolError as error:
        return (decoder.cut(error),)
    batches = portions(payloads, decoder.feed(payloads) if chunk else decoder.end(payloads))
    if events.failed is not None and not decoder.ended:
        # The same read brought what cannot be read: nothing more may come.
        return (*batches, decoder.cut(events.failed))
    return batches
