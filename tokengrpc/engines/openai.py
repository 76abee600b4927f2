"""The engine for OpenAI-compatible servers, over HTTP and server-sent events."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from tokengrpc.engines.http1_head import HTTPError
from tokengrpc.engines.http_client import EngineHTTP, cause, read_body
from tokengrpc.engines.openai_chunks import ChunkDecoder
from tokengrpc.engines.openai_errors import (
    Complaint,
    read_complaint,
    retry_after_seconds,
    status_error,
    stream_error,
)
from tokengrpc.engines.openai_portions import portions
from tokengrpc.engines.openai_reader import Reader, decode
from tokengrpc.engines.openai_request import choose_api, encode_request
from tokengrpc.engines.openai_text import hiding
from tokengrpc.engines.sse import SSEDecoder
from tokengrpc.errors import (
    EngineError,
    EngineLost,
    EngineProtocolError,
    TokenGrpcError,
    UnsupportedFeature,
)
from tokengrpc.model import Capability

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from tokengrpc.engines.http_connection import Response
    from tokengrpc.interfaces import Continuation, Tokenizer
    from tokengrpc.model import Delta
    from tokengrpc.request import GenerationRequest

_ALWAYS = frozenset({Capability.PROMPT, Capability.LOGPROBS})
_CHAT = frozenset(
    {
        Capability.CONVERSATION,
        Capability.TOOLS,
        Capability.IMAGES,
        Capability.REASONING,
        Capability.RAW_BYTES,
        Capability.JSON_SCHEMA,
    }
)
_VLLM = frozenset(
    {
        Capability.TOKEN_IDS,
        Capability.JSON_SCHEMA,
        Capability.REGEX,
        Capability.GRAMMAR,
        Capability.CHOICES,
    }
)


class Settings(Protocol):
    """What the engine reads of its model's settings."""

    @property
    def name(self) -> str:
        """The engine's name."""

    @property
    def base_url(self) -> str:
        """Where the server is, such as `http://127.0.0.1:8000/v1`."""

    @property
    def upstream_model(self) -> str:
        """The server's name for the model; empty: `name`."""

    @property
    def api(self) -> str:
        """`auto`, `chat` or `completions`."""

    @property
    def dialect(self) -> str:
        """`generic`, `openai` or `vllm`."""

    @property
    def connect_timeout(self) -> float:
        """The longest wait for a connection, in seconds."""

    def read_api_key(self) -> str | None:
        """The key that the server wants, if any. Raises ValueError when it is missing."""


class OpenAIEngine:
    """An `Engine` that asks an OpenAI-compatible server."""

    kind = "openai"

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self._settings = settings
        self._model = settings.upstream_model or settings.name
        self._http = EngineHTTP(settings.name, settings.base_url, connect_timeout=settings.connect_timeout)
        self._capabilities = _capabilities(settings.api, settings.dialect)
        self._healthy: bool | None = None
        self._hide = hiding(None)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the API and dialect have fields for; the model itself may do less."""
        return self._capabilities

    @property
    def healthy(self) -> bool | None:
        """Whether the server answered last time, be it with a refusal; None before the first request."""
        return self._healthy

    async def start(self) -> None:
        """Opens the session. Raises ValueError when an API key is configured but missing."""
        headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",  # compression would hold tokens back
            "Content-Type": "application/json",
        }
        key = self._settings.read_api_key()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._hide = hiding(key)
        self._http.open(headers)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.close()

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request as `Engine` says. It cannot continue another engine's output."""
        path, body = self._encode(request, continue_from)
        decoder = ChunkDecoder(self.name, request.output, self._hide)
        response: Response | None = None
        try:
            response = await self._http.post(path, body, connect_timeout=request.limits.connect_timeout)
            self._healthy = True
            steps = await self._accept(response, decoder)
            yield ()
            events, reader = SSEDecoder(), Reader(response)
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
                steps = await self._read(reader, events, decoder)
            if decoder.error is not None:
                raise decoder.error
        except EngineError:
            # An engine that asks to wait is busy, not ill.
            self._healthy = response is not None and response.head.status == 429
            raise
        finally:
            if response is not None:
                self._http.release(response)

    def _encode(self, request: GenerationRequest, continue_from: Continuation | None) -> tuple[str, bytes]:
        if continue_from is not None:
            raise UnsupportedFeature(f"engine {self.name} cannot continue what another one began")
        api = choose_api(self._settings.api, request, dialect=self._settings.dialect)
        body = encode_request(request, api=api, dialect=self._settings.dialect, model=self._model)
        return api.value, body

    async def _accept(self, response: Response, decoder: ChunkDecoder) -> Iterable[Sequence[Delta]]:
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
            "instead of an event stream; "
            "check that its base_url is an OpenAI-compatible API, such as http://127.0.0.1:8000/v1"
        )

    async def _read(
        self, reader: Reader, events: SSEDecoder, decoder: ChunkDecoder
    ) -> Iterable[Sequence[Delta]]:
        """What one read brings, portion by portion."""
        try:
            chunk = await (reader.read_rest() if decoder.complete else reader.read())
        except (HTTPError, OSError) as error:
            return (decoder.cut(self._lost(error)),)
        return decode(chunk, events, decoder)

    async def _refusal(self, response: Response) -> TokenGrpcError:
        body = b""
        with suppress(HTTPError, OSError):  # the status says enough
            body = await read_body(response)
        wait = retry_after_seconds(response.head.headers)
        return status_error(self.name, response.head.status, self._complaint(body), wait)

    async def _accept_answer(self, response: Response, decoder: ChunkDecoder) -> Iterable[Sequence[Delta]]:
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


def _capabilities(api: str, dialect: str) -> frozenset[Capability]:
    capabilities = _ALWAYS
    if api != "completions":
        capabilities |= _CHAT
    if api != "chat":
        capabilities |= {Capability.PROMPT_TOKEN_IDS}
    if dialect == "vllm":
        capabilities |= _VLLM
    return capabilities


def create(settings: Settings, tokenizer: Tokenizer | None) -> OpenAIEngine:  # noqa: ARG001 - all engines' factories are called alike; this one leaves counting to the core
    """Makes the engine of a model; the factory of the entry point `openai`."""
    return OpenAIEngine(settings)
