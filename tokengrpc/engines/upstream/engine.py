"""What engines over HTTP and server-sent events have in common: ask, accept or refuse, read to the end."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tokengrpc.engines.http.client import EngineHTTP, cause, read_body
from tokengrpc.engines.http.head import HTTPError
from tokengrpc.engines.upstream.batching import portions
from tokengrpc.engines.upstream.errors import (
    Complaint,
    read_complaint,
    retry_after_seconds,
    status_error,
    stream_error,
)
from tokengrpc.engines.upstream.late_usage import LateUsageReaders
from tokengrpc.engines.upstream.redaction import hiding
from tokengrpc.engines.upstream.sse import SSEDecoder
from tokengrpc.engines.upstream.stream_reader import ResponseReader, read_on
from tokengrpc.errors import EngineBusy, EngineError, EngineLost, EngineProtocolError, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from tokengrpc.core.model import Capability, Delta
    from tokengrpc.core.ports.engine import Continuation, LateUsage
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.settings import HttpEngineSettings
    from tokengrpc.engines.upstream.stream_decoder import StreamDecoder


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """One request as it is sent, and who reads the answer."""

    path: str
    body: bytes
    decoder: StreamDecoder


class HTTPStreamEngine(ABC):
    """An `Engine` that asks a server over HTTP. A dialect says how to ask, and decodes."""

    kind: ClassVar[str]

    def __init__(
        self, settings: HttpEngineSettings, capabilities: frozenset[Capability], *, base_url: str
    ) -> None:
        self.name = settings.name
        self.capabilities = capabilities
        self._read_api_key = settings.read_api_key
        self._http = EngineHTTP(settings.name, base_url, connect_timeout=settings.connect_timeout)
        self._max_event_bytes = settings.max_event_bytes
        self._late_usage_readers = (
            LateUsageReaders(self._http, settings.drain_limit) if settings.on_cancel == "drain" else None
        )
        self._forgone: set[str] = set()
        self._healthy: bool | None = None
        self._hide = hiding(None)

    @property
    def healthy(self) -> bool | None:
        """Whether the server answered last time, be it with a refusal; None before the first request."""
        return self._healthy

    def on_late_usage(self, report: LateUsage) -> None:
        """What to call with a usage that came after its generation was closed."""
        if self._late_usage_readers is not None:
            self._late_usage_readers.report = report

    def forgo_late_usage(self, record_id: str) -> None:
        """As `ReportsLateUsage`."""
        self._forgone.add(record_id)

    async def start(self) -> None:
        """Gets ready. Raises ValueError when an API key is configured but missing."""
        key = self._read_api_key()
        self._hide = hiding(key)
        self._http.open(
            {
                "Accept": "text/event-stream",
                "Accept-Encoding": "identity",  # compression would hold tokens back
                "Content-Type": "application/json",
                **self._headers(key),
            }
        )

    async def close(self) -> None:
        """Closes all connections."""
        if self._late_usage_readers is not None:
            await self._late_usage_readers.close()
        await self._http.close()

    async def check(self) -> None:
        """Asks for the list of models. The server may have none: that it answers is enough."""
        response = await self._http.get("/models")
        try:
            if response.head.status >= 500:
                raise await self._refusal(response)
            with suppress(HTTPError, OSError):  # lets the connection be used again
                await read_body(response)
        finally:
            self._http.release(response)

    @abstractmethod
    def _headers(self, key: str | None) -> Mapping[str, str]:
        """The dialect's own headers."""

    @abstractmethod
    def _upstream_request(
        self, request: GenerationRequest, continue_from: Continuation | None
    ) -> UpstreamRequest:
        """The request to send. Raises UnsupportedFeature and InvalidRequest."""

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request as `Engine` says."""
        call = self._upstream_request(request, continue_from)
        decoder = call.decoder
        response: Response | None = None
        reader: ResponseReader | None = None
        try:
            response = await self._http.post(
                call.path, call.body, connect_timeout=request.limits.connect_timeout
            )
            self._healthy = True
            steps = await self._accept(response, decoder)
            reader = ResponseReader(response, SSEDecoder(max_event_bytes=self._max_event_bytes), decoder)
            yield ()
            while True:
                waits = False
                for batch in steps:
                    if waits:  # a consumer need not: this lets other tasks go on
                        await asyncio.sleep(0)
                    waits = True
                    if decoder.ended and decoder.error is None:
                        self._http.linger(response)
                    if batch:
                        yield batch
                if decoder.ended:
                    break
                try:
                    steps = await read_on(reader, self._lost)
                except asyncio.CancelledError as error:
                    if not decoder.complete:
                        raise
                    # The answer is whole, and only its usage was waited for: it is not stopped any more.
                    self._stopped(error, request, reader)
                    reader = None  # another one may be reading on
                    yield decoder.last()
                    return
            decoder.check()
        except BaseException as error:
            self._stopped(error, request, reader)
            raise
        finally:
            self._forgone.discard(request.record_id)
            self._release(response)

    def _stopped(
        self,
        error: BaseException,
        request: GenerationRequest,
        reader: ResponseReader | None,
    ) -> None:
        """Something ended it: the engine, whoever reads, or a bug of ours."""
        if isinstance(error, EngineError):
            self._healthy = isinstance(error, EngineBusy)
            return
        gone = isinstance(error, asyncio.CancelledError | GeneratorExit)
        if (
            gone
            and request.record_id not in self._forgone
            and self._late_usage_readers is not None
            and reader is not None
            and not reader.decoder.ended
        ):
            self._late_usage_readers.begin(request.record_id, reader)

    def _release(self, response: Response | None) -> None:
        """Lets go of a response, unless it is read on."""
        if response is not None and (
            self._late_usage_readers is None or response not in self._late_usage_readers
        ):
            self._http.release(response)

    async def _accept(self, response: Response, decoder: StreamDecoder) -> Iterable[Sequence[Delta]]:
        """All output of an accepted request if it is no stream. Raises what a refusal means."""
        head = response.head
        if head.status != 200:
            raise await self._refusal(response)
        if head.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise EngineProtocolError(
                f"engine {self.name} compresses its answers though it is asked not to; "
                "switch that off at it, or at the proxy before it"
            )
        if head.content_type == "text/event-stream":
            return ()
        if head.content_type == "application/json":
            return await self._accept_answer(response, decoder)
        raise EngineProtocolError(
            f"engine {self.name} answered with {self._hide(head.content_type)[:64]} "
            "instead of an event stream; check that its kind and base_url are the right ones"
        )

    async def _refusal(self, response: Response) -> TokenGrpcError:
        body = b""
        with suppress(HTTPError, OSError):  # the status says enough
            body = await read_body(response)
        wait = retry_after_seconds(response.head.headers)
        return status_error(self.name, response.head.status, self._complaint(body), wait)

    async def _accept_answer(self, response: Response, decoder: StreamDecoder) -> Iterable[Sequence[Delta]]:
        """An error under a status of 200, or the whole output of a server that does not stream."""
        try:
            body = await read_body(response)
        except (HTTPError, OSError) as error:
            raise self._lost(error) from error
        complaint = self._complaint(body)
        if complaint is not None:
            raise stream_error(self.name, complaint, started=False)
        return portions([body], decoder.feed([body]) + decoder.end([]))

    def _complaint(self, body: bytes) -> Complaint | None:
        with suppress(ValueError, RecursionError):
            return read_complaint(json.loads(body), self._hide)
        return None

    def _lost(self, error: Exception) -> EngineLost:
        return EngineLost(
            f"the connection to engine {self.name} broke ({self._hide(cause(error))}); "
            "start again under a new id"
        )
