"""Reads on after the caller has left, for the usage that billed servers tell last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from tokengrpc.engines.upstream.stream_reader import read_on
from tokengrpc.errors import EngineLost

if TYPE_CHECKING:
    from tokengrpc.core.model import UsageReport
    from tokengrpc.core.ports.engine import LateUsage
    from tokengrpc.engines.http.client import EngineHTTP
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.stream_reader import ResponseReader

# So many at once; callers who leave after that are not waited for.
_DRAINS = 64

# The most that one drain reads.
_BYTES = 8 * 1024 * 1024

log = structlog.get_logger(__name__)


class LateUsageReaders:
    """The responses of one engine that are read to their end with nobody waiting for them.

    Each for at most `limit` seconds. `report` gets the key in the ledger and the final usage of those that
    tell one in time.
    """

    def __init__(self, http: EngineHTTP, limit: float) -> None:
        self._http = http
        self._limit = limit
        self._running: dict[Response, asyncio.Task[None]] = {}
        self.report: LateUsage | None = None

    def __len__(self) -> int:
        """How many there are now."""
        return len(self._running)

    def __contains__(self, response: Response) -> bool:
        """Whether a response is being drained."""
        return response in self._running

    def begin(self, record_id: str, reader: ResponseReader) -> None:
        """Reads on in the background, unless nobody wants the usage or there are too many already."""
        if record_id and self.report is not None and len(self._running) < _DRAINS:
            task = asyncio.get_running_loop().create_task(self._run(record_id, reader, self.report))
            self._running[reader.response] = task

    async def close(self) -> None:
        """Ends all of them."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, record_id: str, reader: ResponseReader, report: LateUsage) -> None:
        try:
            async with asyncio.timeout(self._limit):
                usage = await _final_usage(reader)
            if usage is not None:
                self._http.linger(reader.response)
                await report(record_id, usage)
        except TimeoutError:
            log.debug("a drain was given up: its engine did not end in time", limit=self._limit)
        except Exception:
            log.exception("a late usage could not be settled", record_id=record_id)
        finally:
            del self._running[reader.response]
            self._http.release(reader.response)


async def _final_usage(reader: ResponseReader) -> UsageReport | None:
    """The usage that comes with a proper end; None for any other end, or for too much before it."""
    decoder, usage, size = reader.decoder, None, 0
    response = reader.response

    async def read() -> bytes:
        nonlocal size
        data = await response.read()
        size += len(data)
        return data

    reader.read = read
    while not decoder.ended and size <= _BYTES:
        for batch in await read_on(reader, lambda _: EngineLost("the connection broke")):
            for delta in batch:
                usage = delta.usage or usage
            await asyncio.sleep(0)  # nobody is in a hurry
    return usage if decoder.ended and decoder.error is None else None
