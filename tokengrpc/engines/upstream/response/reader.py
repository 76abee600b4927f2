"""Reads a response to its end and decodes it in portions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.engines.http.head import HTTPError
from tokengrpc.engines.upstream.response.batching import PORTION, portions, slices
from tokengrpc.errors import EngineProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.response.decoder import StreamDecoder
    from tokengrpc.engines.upstream.response.sse import SSEDecoder
    from tokengrpc.errors import TokenGrpcError


# Some servers send a finish reason with the reasoning, before the answer. So if only reasoning has arrived,
# the rest of the response is read for at least this long.
REASONING_ONLY_SECONDS = 30.0


class ResponseReader:
    """A response with its decoders.

    After the finish reason, only the usage and the end mark are outstanding: the output is complete, and the
    caller has it. So the time for reading them is limited.
    """

    __slots__ = (
        "_deadline",
        "_expired",
        "_outputs",
        "_usage_timeout",
        "decoder",
        "events",
        "read",
        "response",
    )

    def __init__(
        self, response: Response, events: SSEDecoder, decoder: StreamDecoder, *, usage_timeout: float
    ) -> None:
        """`usage_timeout` is in seconds, from the finish reason or the last output after it."""
        # The response's own method, so that no token costs an additional call.
        self.response = response
        self.events = events
        self.decoder = decoder
        self.read = response.read
        self._usage_timeout = usage_timeout
        self._deadline: float | None = None
        self._expired = False
        self._outputs = 0  # the decoder's `outputs_after_finish` for which the deadline was set

    async def read_rest(self) -> bytes:
        """Reads like `read`, but with a deadline that begins with the first call after output.

        After the deadline, data that has already arrived is read once more. Then raises TimeoutError.
        """
        if self._outputs != self.decoder.outputs_after_finish:
            self._outputs = self.decoder.outputs_after_finish
            self._deadline, self._expired = None, False
        if self._expired:
            raise TimeoutError
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            least = REASONING_ONLY_SECONDS if self.decoder.lacks_answer else 0.0
            self._deadline = now + max(self._usage_timeout, least)
        self._expired = now >= self._deadline
        async with asyncio.timeout_at(self._deadline):
            return await self.read()


async def read_batches(
    reader: ResponseReader, lost: Callable[[Exception], TokenGrpcError]
) -> Iterable[Sequence[Delta]]:
    """Reads once and returns the decoded batches. `lost` makes the error for a broken connection."""
    try:
        chunk = await (reader.read_rest() if reader.decoder.complete else reader.read())
    except (HTTPError, OSError) as error:
        return (reader.decoder.cut(lost(error)),)
    return decode(chunk, reader.events, reader.decoder)


def decode(chunk: bytes, events: SSEDecoder, decoder: StreamDecoder) -> Iterable[Sequence[Delta]]:
    """Decodes a chunk into batches. A large one is decoded while the batches are iterated.

    An empty chunk is the body's end.
    """
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
        # The chunk also has an event over the bound, so the output ends here.
        return (*batches, decoder.cut(events.failed))
    return batches
