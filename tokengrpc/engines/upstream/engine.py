"""Base class of engines over HTTP and SSE: sends a request, checks the response's head, reads the stream."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tokengrpc.config.texts import read_texts, secret_texts
from tokengrpc.engines.http.client import EngineHTTP, read_body
from tokengrpc.engines.http.failures import cause
from tokengrpc.engines.http.head import HTTPError
from tokengrpc.engines.upstream.answer_guard import answer_guard, guarded
from tokengrpc.engines.upstream.batching import portions
from tokengrpc.engines.upstream.body_form import EVENT_STREAM, BodyForm, form_of, is_compressed
from tokengrpc.engines.upstream.complaint import Complaint, read_complaint
from tokengrpc.engines.upstream.delays import delay_seconds
from tokengrpc.engines.upstream.errors import status_error, stream_error
from tokengrpc.engines.upstream.late_usage import LateUsageReaders
from tokengrpc.engines.upstream.load_report import read_load
from tokengrpc.engines.upstream.redaction import hiding
from tokengrpc.engines.upstream.sse import SSEDecoder
from tokengrpc.engines.upstream.stream_reader import ResponseReader, decode, read_batches
from tokengrpc.errors import (
    EngineBusy,
    EngineError,
    EngineLost,
    EngineProtocolError,
    InvalidRequest,
    TokenGrpcError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from tokengrpc.core.model import Capability, Delta
    from tokengrpc.core.ports.engine import Continuation, LateUsage, ReportedLoad
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.http.client import ConnectionStats
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.settings import HttpEngineSettings
    from tokengrpc.engines.upstream.stream_decoder import StreamDecoder

# Statuses with which servers refuse a request for its rate.
_RATE_STATUSES = frozenset({413, 429})


# Statuses with which servers refuse a request because of a field that they do not know.
_FIELD_REFUSALS = frozenset({400, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """An HTTP request to an engine, and the decoder of its response.

    `repeat` takes the status and the body of a refusal, and returns the request to send instead, if any.
    `on_accepted` is called when the engine has accepted the request.
    """

    path: str
    body: bytes
    decoder: StreamDecoder
    repeat: Callable[[int, bytes], UpstreamRequest | None] | None = None
    on_accepted: Callable[[], None] | None = None


class HTTPStreamEngine(ABC):
    """An `Engine` that sends requests to a server over HTTP. Dialects build the request and the decoder."""

    kind: ClassVar[str]

    def __init__(
        self, settings: HttpEngineSettings, capabilities: frozenset[Capability], *, base_url: str
    ) -> None:
        self.name = settings.name
        self.capabilities = capabilities
        self._read_api_key = settings.read_api_key
        self._http = EngineHTTP(
            settings.name,
            base_url,
            connect_timeout=settings.connect_timeout,
            tls_files=settings.tls_files,
            proxy=settings.proxy,
        )
        self._settings = settings
        self._check_path: str | None = "/models"
        self._max_event_bytes = settings.max_event_bytes
        self._usage_timeout = settings.usage_timeout
        self._late_usage_readers = (
            LateUsageReaders(self._http, settings.drain_limit) if settings.on_cancel == "drain" else None
        )
        self._forgone: set[str] = set()  # record ids whose late usage is not wanted
        self._healthy: bool | None = None
        self._reported_load: ReportedLoad | None = None
        self._hide = hiding(None)

    @property
    def healthy(self) -> bool | None:
        """Whether the server worked at the last request; None before the first one.

        A server that is busy, or that rejects the request as invalid, works.
        """
        return self._healthy

    @property
    def reported_load(self) -> ReportedLoad | None:
        """The load that the server reported last; None if it did not."""
        return self._reported_load

    @property
    def late_usage_reader_count(self) -> int:
        """The number of responses that are read to their end after their caller has left."""
        return 0 if self._late_usage_readers is None else len(self._late_usage_readers)

    def connection_stats(self) -> ConnectionStats:
        """Returns the current state of the engine's connections."""
        return self._http.stats()

    def on_late_usage(self, report: LateUsage) -> None:
        """Sets the function to call with usage that arrives after its generation was closed."""
        if self._late_usage_readers is not None:
            self._late_usage_readers.report = report

    def forgo_late_usage(self, record_id: str) -> None:
        """Marks the late usage of a request as not wanted; see `ReportsLateUsage`."""
        self._forgone.add(record_id)

    async def start(self) -> None:
        """Reads keys and certificates and opens the HTTP client. Raises ConfigError if one cannot be used."""
        key = self._read_api_key()
        added = read_texts(f"engine {self.name}: headers", self._settings.headers)
        query = read_texts(f"engine {self.name}: query", self._settings.query)
        headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",  # compression would delay tokens
            "Content-Type": "application/json",
            **self._headers(key),
        }
        replaced = {name.lower() for name in added}
        headers = {name: value for name, value in headers.items() if name.lower() not in replaced} | added
        origin = self._http.open(headers, query)
        secrets = [
            *secret_texts(self._settings.headers, added),
            *secret_texts(self._settings.query, query),
            *(origin.proxy.secrets if origin.proxy is not None else ()),
        ]
        self._hide = hiding(key, *secrets)

    async def close(self) -> None:
        """Closes all connections."""
        if self._late_usage_readers is not None:
            await self._late_usage_readers.close()
        await self._http.close()

    async def check(self) -> bool:
        """Requests the list of models. Some servers have no such list, so any status below 500 passes.

        Returns False without a request if one would disturb the server. Raises the error that a status of 500
        or more maps to.
        """
        if self._check_path is None:
            return False
        response = await self._http.get(self._check_path)
        try:
            if response.head.status >= 500:
                raise await self._refusal(response)
            with suppress(HTTPError, OSError):  # reading the body makes the connection reusable
                await read_body(response)
        finally:
            self._http.release(response)
        return True

    @abstractmethod
    def _headers(self, key: str | None) -> Mapping[str, str]:
        """Returns the dialect's own headers. `key` is the API key, if any."""

    @abstractmethod
    def _upstream_request(
        self, request: GenerationRequest, continue_from: Continuation | None
    ) -> UpstreamRequest:
        """Builds the request to send. Raises UnsupportedFeature and InvalidRequest."""

    def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request; see `Engine.generate`."""
        batches = self._stream(request, continue_from)
        guard = answer_guard(self._settings, request, continue_from)
        return batches if guard is None else guarded(batches, guard, usage_timeout=self._usage_timeout)

    async def _stream(
        self, request: GenerationRequest, continue_from: Continuation | None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        upstream_request = self._upstream_request(request, continue_from)
        response: Response | None = None
        reader: ResponseReader | None = None
        try:
            upstream_request, response = await self._send(upstream_request, request.limits.connect_timeout)
            decoder = upstream_request.decoder
            events = SSEDecoder(max_event_bytes=self._max_event_bytes)
            batches = await self._accept(response, events, decoder)
            reader = ResponseReader(response, events, decoder, usage_timeout=self._usage_timeout)
            yield ()
            while True:
                is_first = True
                for batch in batches:
                    if not is_first:  # the consumer may never suspend: let other tasks run between batches
                        await asyncio.sleep(0)
                    is_first = False
                    if decoder.ended and decoder.error is None:
                        self._http.linger(response)
                    if batch:
                        yield batch
                if decoder.ended:
                    break
                try:
                    batches = await read_batches(reader, self._lost)
                except asyncio.CancelledError as error:
                    if not decoder.complete:
                        raise
                    # The engine has sent its finish reason and only the usage is outstanding: cancellation no
                    # longer changes the outcome.
                    self._handle_stop(error, request, reader)
                    reader = None  # it may belong to a late-usage reader now
                    yield decoder.final_deltas()
                    return
            decoder.check()
        except BaseException as error:
            self._handle_stop(error, request, reader)
            raise
        finally:
            self._forgone.discard(request.record_id)
            self._release(response)

    async def _send(
        self, upstream_request: UpstreamRequest, connect_timeout: float | None
    ) -> tuple[UpstreamRequest, Response]:
        """Sends a request, again as long as the engine refuses a field that can be omitted.

        Returns the last request and its response. Raises the error that a refusal of such a status maps to.
        """
        while True:
            response = await self._http.post(
                upstream_request.path, upstream_request.body, connect_timeout=connect_timeout
            )
            self._healthy = True
            self._reported_load = read_load(response.head.headers) or self._reported_load
            if response.head.status not in _FIELD_REFUSALS or upstream_request.repeat is None:
                if response.head.status < 300 and upstream_request.on_accepted is not None:
                    upstream_request.on_accepted()
                return upstream_request, response
            try:
                upstream_request = await self._repeated(upstream_request, response)
            finally:
                self._http.release(response)

    async def _repeated(self, upstream_request: UpstreamRequest, response: Response) -> UpstreamRequest:
        """Returns the request to send instead of a refused one. Raises the refusal's error without one."""
        body = await self._refusal_body(response)
        error = self._refusal_error(response, body)
        repeat = None
        if isinstance(error, InvalidRequest) and upstream_request.repeat is not None:
            repeat = upstream_request.repeat(response.head.status, body)
        if repeat is None:
            raise error
        return repeat

    def _handle_stop(
        self,
        error: BaseException,
        request: GenerationRequest,
        reader: ResponseReader | None,
    ) -> None:
        """Records an engine error in the health. If the consumer left, starts reading for late usage."""
        if isinstance(error, EngineError):
            self._healthy = isinstance(error, EngineBusy)
            return
        consumer_left = isinstance(error, asyncio.CancelledError | GeneratorExit)
        if (
            consumer_left
            and request.record_id not in self._forgone
            and self._late_usage_readers is not None
            and reader is not None
            and not reader.decoder.ended
        ):
            self._late_usage_readers.begin(request.record_id, reader)

    def _release(self, response: Response | None) -> None:
        """Releases a response, unless a late-usage reader still reads it."""
        if response is not None and (
            self._late_usage_readers is None or response not in self._late_usage_readers
        ):
            self._http.release(response)

    async def _accept(
        self, response: Response, events: SSEDecoder, decoder: StreamDecoder
    ) -> Iterable[Sequence[Delta]]:
        """Checks the response's head, and how its body begins unless the type says that it is a stream.

        Returns what it has read so far, decoded: the whole output if the server does not stream. Raises the
        error that a refusal maps to, and EngineProtocolError for an unusable response.
        """
        head = response.head
        if not 200 <= head.status < 300:
            raise await self._refusal(response)
        if is_compressed(head):
            raise EngineProtocolError(
                f"engine {self.name} compressed its response although the request forbids it; "
                "turn compression off in the engine or in the proxy before it"
            )
        if head.content_type == EVENT_STREAM:
            return ()
        try:
            beginning, form = await _beginning(response)
            if form is BodyForm.JSON:
                return self._whole_output(beginning + await read_body(response), decoder)
        except (HTTPError, OSError) as error:
            raise self._lost(error) from error
        if form is BodyForm.EVENTS:
            return decode(beginning, events, decoder) if beginning else ()
        raise EngineProtocolError(
            f"engine {self.name} answered with {self._hide(head.content_type)[:64]} "
            "instead of an event stream; check its kind and base_url"
        )

    async def _refusal(self, response: Response) -> TokenGrpcError:
        return self._refusal_error(response, await self._refusal_body(response))

    async def _refusal_body(self, response: Response) -> bytes:
        with suppress(HTTPError, OSError):  # the status alone is enough
            return await read_body(response)
        return b""

    def _refusal_error(self, response: Response, body: bytes) -> TokenGrpcError:
        status, headers = response.head.status, response.head.headers
        delay = delay_seconds(headers, now=time.time(), limited=status in _RATE_STATUSES)
        return status_error(self.name, status, self._complaint(body), delay)

    def _whole_output(self, body: bytes, decoder: StreamDecoder) -> Iterable[Sequence[Delta]]:
        """Decodes the whole output of a server that does not stream.

        Raises the error for an error object, which some servers send with status 200.
        """
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


async def _beginning(response: Response) -> tuple[bytes, BodyForm]:
    """Reads as much of a body as shows its form. White space before it may come for long, and is dropped."""
    beginning, form = b"", BodyForm.UNKNOWN
    while form is BodyForm.UNKNOWN:
        chunk = await response.read()
        beginning = (beginning + chunk).lstrip()
        form = form_of(beginning, ended=not chunk)
    return beginning, form
