"""Keeps reading a response after the caller has left, because servers report the billed usage last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from tokengrpc.engines.upstream.response.reader import read_batches
from tokengrpc.errors import EngineLost

if TYPE_CHECKING:
    from tokengrpc.core.model import UsageReport
    from tokengrpc.core.ports.engine import LateUsage
    from tokengrpc.engines.http.client import EngineHTTP
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.response.reader import ResponseReader

# Maximum number of readers at once. Beyond it, the engine's connection is closed when a caller leaves.
MAX_READERS = 64

# Maximum number of bytes that one reader reads.
MAX_BYTES = 8 * 1024 * 1024

log = structlog.get_logger(__name__)


class LateUsageReaders:
    """Background tasks of one engine, each of which reads a response to its end after the caller has left.

    Each one runs for at most `limit` seconds. If the final usage arrives in time, `report` is called with it
    and with the record id, which is the key in the ledger.
    """

    def __init__(self, http: EngineHTTP, limit: float) -> None:
        self._http = http
        self._limit = limit
        self._running: dict[Response, asyncio.Task[None]] = {}
        self.report: LateUsage | None = None

    def __len__(self) -> int:
        """Returns the number of running readers."""
        return len(self._running)

    def __contains__(self, response: Response) -> bool:
        """Returns whether a reader is reading this response."""
        return response in self._running

    def begin(self, record_id: str, reader: ResponseReader) -> None:
        """Starts a reader, unless the usage cannot be reported or too many readers are running."""
        if record_id and self.report is not None and len(self._running) < MAX_READERS:
            task = asyncio.get_running_loop().create_task(self._run(record_id, reader, self.report))
            self._running[reader.response] = task

    async def close(self) -> None:
        """Cancels all readers and waits until they have ended."""
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
            log.debug("no late usage: the engine did not end its response in time", limit=self._limit)
        except Exception:
            log.exception("late usage could not be settled", record_id=record_id)
        finally:
            del self._running[reader.response]
            self._http.release(reader.response)


async def _final_usage(reader: ResponseReader) -> UsageReport | None:
    """Returns the usage of a response that ends regularly within MAX_BYTES, otherwise None."""
    decoder, usage, size = reader.decoder, None, 0
    response = reader.response

    async def read() -> bytes:
        nonlocal size
        data = await response.read()
        size += len(data)
        return data

    reader.read = read
    while not decoder.ended and size <= MAX_BYTES:
        for batch in await read_batches(reader, lambda _: EngineLost("the connection broke")):
            for delta in batch:
                usage = delta.usage or usage
            await asyncio.sleep(0)  # running generations go first
    return usage if decoder.ended and decoder.error is None else None
