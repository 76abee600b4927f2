"""Base class of engines over HTTP and SSE: sends a request, checks the response's head, reads the stream."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from tokengrpc.config.texts import read_texts, secret_texts
from tokengrpc.engines.described import upstream_at
from tokengrpc.engines.http.client import EngineHTTP, read_body
from tokengrpc.engines.http.head import HTTPError
from tokengrpc.engines.upstream.answers.guard import answer_guard, guarded
from tokengrpc.engines.upstream.errors.failures import Failures
from tokengrpc.engines.upstream.errors.redaction import hiding
from tokengrpc.engines.upstream.late_usage import LateUsageReaders
from tokengrpc.engines.upstream.load_report import read_load
from tokengrpc.engines.upstream.response.opening import open_output
from tokengrpc.engines.upstream.response.reader import ResponseReader, read_batches
from tokengrpc.engines.upstream.response.response_id import id_in_head
from tokengrpc.engines.upstream.response.sse import SSEDecoder
from tokengrpc.engines.upstream.sending import send
from tokengrpc.errors import EngineBusy, EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from tokengrpc.core.model import Capability, Delta
    from tokengrpc.core.ports.engine import Continuation, LateUsage, ReportedLoad, Upstream
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.http.client import ConnectionStats
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.sending import UpstreamRequest
    from tokengrpc.engines.upstream.settings import HttpEngineSettings


class HTTPStreamEngine(ABC):
    """An `Engine` that sends requests to a server over HTTP. Dialects build the request and the decoder."""

    kind: ClassVar[str]

    def __init__(
        self,
        settings: HttpEngineSettings,
        capabilities: frozenset[Capability],
        *,
        base_url: str,
        provider: str,
    ) -> None:
        """`provider` is the one of `Upstream`."""
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
        self._upstream = upstream_at(base_url, provider, settings.upstream_model or settings.name)
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
        self._failures = Failures(self.name, self._hide)

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
    def upstream(self) -> Upstream:
        """See `DescribesUpstream`."""
        return self._upstream

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
        self.reread_secrets()

    def reread_secrets(self) -> None:
        """See `RereadsSecrets`."""
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
        self._hide = hiding(key, *secrets, hosts=origin.names)
        self._failures = Failures(self.name, self._hide)

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
                raise await self._failures.refusal(response)
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
        upstream_request = await self._built_request(request, continue_from)
        hide = self._hide_for(request)
        failures = Failures(self.name, hide) if request.engine_key else self._failures
        response: Response | None = None
        reader: ResponseReader | None = None
        try:
            upstream_request, response = await send(
                upstream_request,
                self._http,
                failures,
                connect_timeout=request.limits.connect_timeout,
                headers=self._headers_for(request),
                on_response=self._note_response,
            )
            decoder = upstream_request.decoder
            events = SSEDecoder(max_event_bytes=self._max_event_bytes)
            # The id in the head holds until the body has one.
            identity = id_in_head(response.head.headers, hide)
            output = await open_output(response, events, decoder, failures)
            batches: Iterable[Sequence[Delta]] = chain(identity, output)
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
                    batches = await read_batches(reader, failures.lost)
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

    def _headers_for(self, request: GenerationRequest) -> Mapping[str, str]:
        """Returns the headers of one request: its place in a trace, and the caller's own key, if any."""
        headers = request.trace.headers()
        return {**headers, **self._headers(request.engine_key.reveal())} if request.engine_key else headers

    def _hide_for(self, request: GenerationRequest) -> Callable[[str], str]:
        """Returns the function that redacts what the server says to a request."""
        hide = self._hide
        if not request.engine_key:
            return hide
        hide_key = hiding(request.engine_key.reveal())
        return lambda text: hide(hide_key(text))

    def _note_response(self, response: Response) -> None:
        """Notes that the server works, and the load that it reports."""
        self._healthy = True
        self._reported_load = read_load(response.head.headers) or self._reported_load

    async def _built_request(
        self, request: GenerationRequest, continue_from: Continuation | None
    ) -> UpstreamRequest:
        if request.is_large:
            return await asyncio.to_thread(self._upstream_request, request, continue_from)
        return self._upstream_request(request, continue_from)

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
