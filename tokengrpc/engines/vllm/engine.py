"""The engine for vLLM's gRPC service: connects, runs requests, aborts those that their callers leave."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import structlog
from smg_vllm import vllm_engine_pb2 as pb

from tokengrpc.core.input_tokens import input_length
from tokengrpc.core.model import Capability, Delta
from tokengrpc.engines.described import upstream_at
from tokengrpc.engines.upstream.errors.redaction import hiding
from tokengrpc.engines.vllm.channel import EngineChannel
from tokengrpc.engines.vllm.errors import rpc_error
from tokengrpc.engines.vllm.input import stopping_text, tokenize
from tokengrpc.engines.vllm.model_source import ModelSource
from tokengrpc.engines.vllm.output import OutputDecoder
from tokengrpc.engines.vllm.request import encode_request
from tokengrpc.errors import EngineBusy, EngineError, EngineProtocolError, EngineUnavailable
from tokengrpc.escaping import MAX_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.ports.engine import Continuation, Tokenizer, Upstream
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.vllm.channel import GenerateCall
    from tokengrpc.engines.vllm.input import Input
    from tokengrpc.engines.vllm.model_source import EngineModel
    from tokengrpc.engines.vllm.settings import VllmSettings
    from tokengrpc.errors import TokenGrpcError

_CAPABILITIES = frozenset(
    {
        Capability.PROMPT,
        Capability.CONVERSATION,
        Capability.PROMPT_TOKEN_IDS,
        Capability.LOGPROBS,
        Capability.TOKEN_IDS,
        Capability.RAW_BYTES,
        Capability.JSON_SCHEMA,
        Capability.REGEX,
        Capability.GRAMMAR,
        Capability.CHOICES,
        Capability.CONTINUE_TOKEN_IDS,
        Capability.CONTINUE_TEXT,
    }
)

# Tokenizing this many characters takes a few milliseconds; longer inputs are tokenized on a thread.
_LONG_INPUT = 4 * 1024

# After a stop sequence was found in the text, this long is waited for the engine to find it as well.
_AFTER_STOP_SECONDS = 1.0

# So much of the generation's id begins a request's, which then is no longer than an attempt's response id.
_ID_BEGINNING = MAX_ID_LENGTH - len("-") - 32

log = structlog.get_logger(__name__)


class VllmEngine:
    """An `Engine` that runs requests on vLLM's gRPC service."""

    kind = "vllm"
    id_space = "model"  # ids are those of the model's own tokenizer

    def __init__(self, settings: VllmSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._capabilities = settings.capabilities(_CAPABILITIES)
        self._channel = EngineChannel(
            settings.name,
            settings.base_url,
            ca_file=settings.ca_file,
            connect_timeout=settings.connect_timeout,
            max_message_bytes=settings.max_event_bytes,
        )
        self._upstream = upstream_at(settings.base_url, self.kind, settings.upstream_model or settings.name)
        self._hide = hiding(None)
        self._source = ModelSource(settings, self._channel, self._redact)
        self._ending: set[asyncio.Task[None]] = set()  # calls that are cut at a stop sequence
        self._healthy: bool | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What requests may ask for; no conversation once the model is known to have no chat template."""
        return self._capabilities

    @property
    def upstream(self) -> Upstream:
        """See `DescribesUpstream`."""
        return self._upstream

    @property
    def healthy(self) -> bool | None:
        """Whether the server worked at the last request; None before the first one."""
        return self._healthy

    async def start(self) -> None:
        """Reads the key and the model's files, and connects if the engine is there.

        Raises ConfigError if a key, a file or the extra `vllm` is missing.
        """
        key = self._read_key()
        await self._source.load_files()
        self._channel.open(key)
        try:
            await self._model()
        except EngineUnavailable as error:
            log.warning("the engine is away; the first request tries again", error=error.message)
        except EngineError as error:
            log.warning("the engine cannot be used; the first request tries again", error=error.message)

    def reread_secrets(self) -> None:
        """See `RereadsSecrets`. Certificates are read when the engine starts."""
        self._channel.use_key(self._read_key())

    def _read_key(self) -> str | None:
        """Returns the key, which errors do not show from now on. Raises ConfigError if it is missing."""
        key = self._settings.read_api_key()
        self._hide = hiding(key, hosts=[urlsplit(self._settings.base_url).hostname or ""])
        return key

    async def close(self) -> None:
        """Closes the connection."""
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._channel.close()

    async def check(self) -> None:
        """Calls HealthCheck. Raises EngineError if the engine is away or says that it is not healthy."""
        await self._channel.connect()
        try:
            answer = await self._channel.stub.HealthCheck(
                pb.HealthCheckRequest(), metadata=self._channel.metadata
            )
        except grpc.aio.AioRpcError as error:
            raise rpc_error(self.name, error, self._hide) from error
        if not answer.healthy:
            raise EngineUnavailable(
                f"engine {self.name} is not healthy: {self._hide(answer.message)[:200]}; restart it"
            )

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request; see `Engine.generate`."""
        request_id = f"{(request.generation_id or 'tokengrpc')[:_ID_BEGINNING]}-{uuid.uuid4().hex}"
        call: GenerateCall | None = None
        decoder: OutputDecoder | None = None
        accepted = False
        try:
            model = await self._model(request.limits.connect_timeout)
            tokens, message = await self._encode(request, continue_from, model, request_id)
            decoder = OutputDecoder(
                self.name,
                model.text.vocabulary,
                prompt_ids=tokens.prompt_ids if request.output.token_ids else None,
                top_count=request.output.top_logprob_count or 0,
                stopping=stopping_text(request, continue_from, model.text),
            )
            call = self._channel.generate(message, request.trace.headers())
            await call.initial_metadata()
            if not call.done() or await call.code() is grpc.StatusCode.OK:
                accepted = self._healthy = True
                yield ()
                yield (Delta(count=0, response_id=request_id),)
            while not decoder.ended:
                data = await call.read()
                if data is grpc.aio.EOF:
                    decoder.end()
                elif deltas := decoder.feed(data):
                    yield deltas
            if decoder.error is not None:
                raise decoder.error
        except grpc.aio.AioRpcError as error:
            started = decoder is not None and decoder.started
            failure = rpc_error(self.name, error, self._hide, accepted=accepted, started=started)
            if decoder is not None:
                # Where the connection broke, or this side ended the call, the engine may still be running.
                broken = error.code() is grpc.StatusCode.UNAVAILABLE
                decoder.engine_ended = not (broken or isinstance(failure, EngineProtocolError))
            self._note(failure)
            raise failure from error
        except EngineError as error:
            self._note(error)
            raise
        finally:
            if call is not None and decoder is not None:
                self._leave(call, decoder, request_id)

    def _note(self, error: TokenGrpcError) -> None:
        """Records an engine's answer in its health. One that is busy, or refuses a request, works."""
        self._healthy = isinstance(error, EngineBusy) or not isinstance(error, EngineError)

    async def _model(self, connect_timeout: float | None = None) -> EngineModel:
        model = await self._source.model(await self._channel.connect(connect_timeout))
        missing = set() if model.text.chat_template is not None else {Capability.CONVERSATION}
        self._capabilities = self._settings.capabilities(_CAPABILITIES) - missing
        return model

    def _redact(self, text: str) -> str:
        return self._hide(text)

    async def _encode(
        self,
        request: GenerationRequest,
        continue_from: Continuation | None,
        model: EngineModel,
        request_id: str,
    ) -> tuple[Input, pb.GenerateRequest]:
        """Returns the input as token ids, and the message that holds it. Long ones are made on a thread."""

        def encode() -> tuple[Input, pb.GenerateRequest]:
            tokens = tokenize(request, continue_from, model.text, self._capabilities)
            return tokens, encode_request(request, request_id, tokens.ids, model.sampling_defaults)

        length = input_length(request) + len(continue_from.text if continue_from is not None else "")
        if length <= _LONG_INPUT and not request.is_large:
            return encode()
        return await asyncio.to_thread(encode)

    def _leave(self, call: GenerateCall, decoder: OutputDecoder, request_id: str) -> None:
        """Ends a call whose output is over or no longer wanted, so that the engine stops."""
        if decoder.engine_ended:
            call.cancel()  # frees what is left of it
        elif decoder.ended and decoder.error is None:
            task = asyncio.get_running_loop().create_task(self._await_end(call, request_id))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        else:
            call.cancel()
            self._channel.abort(request_id)

    async def _await_end(self, call: GenerateCall, request_id: str) -> None:
        """Waits for the engine to end its output after a stop sequence. Aborts it if it does not."""
        ended = False
        try:
            with suppress(TimeoutError, grpc.aio.AioRpcError):
                async with asyncio.timeout(_AFTER_STOP_SECONDS):
                    data = await call.read()
                    ended = data is grpc.aio.EOF or _is_complete(data)
        finally:
            call.cancel()
            if not ended:
                self._channel.abort(request_id)


def _is_complete(data: bytes) -> bool:
    return bool(pb.GenerateResponse.FromString(data).HasField("complete"))


def create(settings: VllmSettings, tokenizer: Tokenizer | None) -> VllmEngine:  # noqa: ARG001 - all engine factories have the same signature; this engine has its model's own tokenizer
    """Creates the engine of a model. This is the factory of the entry point `vllm`."""
    return VllmEngine(settings)
