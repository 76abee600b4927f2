"""A server of vLLM's gRPC service that follows a script. Its own log is the truth of a test.

    async with ScriptedVllm() as engine:
        engine.script(Say("Hello", " world"), End("stop"))
        ...  # let something call engine.base_url
        call = await engine.called()
        assert call.text == "Hello world"

It listens behind a proxy, so that its connections can be reset, refused and left unanswered. The messages are
those of smg-grpc-servicer 0.14.1: a chunk for each new tokens, then `complete`, which repeats the last chunk.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, Self

import grpc
from smg_vllm import common_pb2
from smg_vllm import vllm_engine_pb2 as pb

from tests.support.model_files import archive, byte_level_tokenizer, model_files
from tests.support.tcp_proxy import TcpProxy
from tests.support.wire_dialects import INPUT_TOKENS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

SERVICE = "vllm.grpc.engine.VllmEngine"

_BYTES_OF_CHUNK = 1_000


class GrpcStep(Protocol):
    """A step of a script."""

    async def run(self, call: VllmCall) -> None:
        """Runs the step."""


class VllmCall:
    """One call of Generate and its history.

    `ids` are the tokens that were written. `told_usage` is what the caller was told: input and output.
    """

    def __init__(self, engine: ScriptedVllm, request: pb.GenerateRequest, context: Any) -> None:
        self.engine = engine
        self.request = request
        self.context = context
        self.ids: list[int] = []
        self.text = ""
        self.suffix = b""
        self.last: pb.GenerateStreamChunk | None = None
        self.told_usage: tuple[int, int] | None = None
        self.finished = asyncio.Event()
        self.disconnected = asyncio.Event()

    @property
    def token_count(self) -> int:
        """The tokens that were sent."""
        return len(self.ids)

    async def write(self, message: pb.GenerateResponse) -> None:
        """Writes a message."""
        await self.context.write(message.SerializeToString() + self.suffix)

    async def write_chunk(self, ids: Sequence[int], logprobs: pb.OutputLogProbs | None = None) -> None:
        """Writes a chunk; its tokens and text count as sent."""
        self.last = pb.GenerateStreamChunk(
            token_ids=ids,
            prompt_tokens=INPUT_TOKENS,
            completion_tokens=len(ids),
            cached_tokens=2,
            output_logprobs=logprobs,
        )
        await self.write(pb.GenerateResponse(chunk=self.last))
        self.ids += ids
        self.text = _tokenizer().decode(self.ids, skip_special_tokens=True)
        self.told_usage = (INPUT_TOKENS, len(self.ids))


class ScriptedVllm:
    """The server. Every call of Generate is kept in `calls`; `aborted` has the ids of Abort, in order."""

    def __init__(
        self, files: Mapping[str, bytes] | None = None, *, certificate: Path | None = None, **info: Any
    ) -> None:
        """`files` are the model's; none: GetTokenizer fails as vLLM's does for a model of a hub.

        With a `certificate`, a file with the key and the certificate, it serves TLS.
        """
        self._certificate = certificate
        self.files = model_files() if files is None else files
        self.info = {"served_model_name": "tiny", "vocab_size": 320, "max_context_length": 64, **info}
        self.calls: list[VllmCall] = []
        self.aborted: list[str] = []
        self.log: list[str] = []
        """The events in order: `cancelled` or `abort` and the request id."""
        self.healthy = True
        self.served: list[str] = []
        """The other methods that were called, in order, and the callers' credentials."""
        self.authorizations: list[str] = []
        self.traceparents: list[str] = []
        self._steps: tuple[Any, ...] = ()
        self._taken = 0
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None
        self.proxy = TcpProxy(0)

    async def __aenter__(self) -> Self:
        await self.start()
        await self.proxy.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.proxy.__aexit__()
        await self.stop()

    async def start(self) -> None:
        """Starts the server, behind the same address as before."""
        self._server = grpc.aio.server()
        unary: dict[str, Any] = {
            "Abort": (self._abort, pb.AbortRequest),
            "HealthCheck": (self._health_check, pb.HealthCheckRequest),
            "GetModelInfo": (self._get_model_info, pb.GetModelInfoRequest),
        }
        streaming: dict[str, Any] = {
            "Generate": (self._generate, pb.GenerateRequest),
            "GetTokenizer": (self._get_tokenizer, common_pb2.GetTokenizerRequest),
        }
        # No serializers: a script may send what is no message.
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(method, request.FromString)
            for name, (method, request) in unary.items()
        } | {
            name: grpc.unary_stream_rpc_method_handler(method, request.FromString)
            for name, (method, request) in streaming.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.proxy.upstream_port = self._listen(self._server)
        await self._server.start()

    def _listen(self, server: grpc.aio.Server) -> int:
        if self._certificate is None:
            return server.add_insecure_port("127.0.0.1:0")
        pair = (self._certificate.read_bytes(),) * 2  # the file has both
        return server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))

    async def stop(self) -> None:
        """Stops the server. The proxy resets new connections."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def hang_up(self) -> None:
        """Stops listening: new connections are refused, open ones are reset."""
        self.proxy.vanish()

    async def go_deaf(self) -> Sequence[socket.socket]:
        """Stops accepting: connections hang until the returned sockets are closed."""
        await self.hang_up()
        listener = socket.create_server(("127.0.0.1", self.proxy.port), backlog=0)
        waiting = [listener]
        while len(waiting) < 4:  # one fills the queue of a backlog of 0; a kernel may take some more
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        return waiting

    @property
    def base_url(self) -> str:
        """The URL of the server."""
        return f"{'https' if self._certificate else 'http'}://{self.proxy.target}"

    def script(self, *steps: Any) -> None:
        """Sets the script of the following calls."""
        self._steps = steps

    async def called(self) -> VllmCall:
        """Waits for the next call and returns it. Each call is returned once."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.calls) > self._taken)
        call = self.calls[self._taken]
        self._taken += 1
        return call

    async def noted(self, entry: str) -> None:
        """Waits until `log` has an event."""
        async with self._changed:
            await self._changed.wait_for(lambda: entry in self.log)

    async def check_released(self, *, failed: bool) -> None:
        """Waits until no call is open, and until a call that failed on a working connection is aborted."""
        broken = self.proxy.cut_count or self.proxy.ended_count
        for call in self.calls:
            while not (call.finished.is_set() or call.disconnected.is_set()):  # noqa: ASYNC110 - either event
                await asyncio.sleep(0.001)
            if failed and call.disconnected.is_set() and not broken:
                await self.noted(f"abort {call.request.request_id}")

    async def _note(self, entry: str) -> None:
        async with self._changed:
            self.log.append(entry)
            self._changed.notify_all()

    async def _generate(self, request: pb.GenerateRequest, context: Any) -> None:
        call = VllmCall(self, request, context)
        async with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        metadata = dict(context.invocation_metadata())
        self.authorizations.append(metadata.get("authorization", ""))
        self.traceparents.append(metadata.get("traceparent", ""))
        try:
            for step in self._steps:
                await step.run(call)
            call.finished.set()
        except asyncio.CancelledError:
            call.disconnected.set()
            await self._note(f"cancelled {request.request_id}")
            raise

    async def _abort(self, request: pb.AbortRequest, context: Any) -> bytes:
        self.aborted += request.request_ids
        for request_id in request.request_ids:
            await self._note(f"abort {request_id}")
        return pb.AbortResponse().SerializeToString()

    async def _health_check(self, request: pb.HealthCheckRequest, context: Any) -> bytes:
        self.served.append("HealthCheck")
        message = "Health" if self.healthy else "Engine is not alive"
        return pb.HealthCheckResponse(healthy=self.healthy, message=message).SerializeToString()

    async def _get_model_info(self, request: pb.GetModelInfoRequest, context: Any) -> bytes:
        self.served.append("GetModelInfo")
        return pb.GetModelInfoResponse(**self.info).SerializeToString()

    async def _get_tokenizer(
        self, request: common_pb2.GetTokenizerRequest, context: Any
    ) -> AsyncIterator[bytes]:
        self.served.append("GetTokenizer")
        if not self.files:
            await context.abort(grpc.StatusCode.INTERNAL, "No tokenizer files found in org/model")
        data = archive(self.files)
        for at in range(0, len(data), _BYTES_OF_CHUNK):
            part = data[at : at + _BYTES_OF_CHUNK]
            digest = hashlib.sha256(data).hexdigest() if at + len(part) == len(data) else ""
            yield common_pb2.GetTokenizerChunk(data=part, sha256=digest).SerializeToString()


@cache
def _tokenizer() -> Tokenizer:
    return byte_level_tokenizer()


def ids_of(text: str) -> list[int]:
    """The scripted model's token ids of a text."""
    return list(_tokenizer().encode(text, add_special_tokens=False).ids)


def id_of(token: str) -> int:
    """The id of one token by its name, such as `<|end|>`."""
    number = _tokenizer().token_to_id(token)
    assert number is not None, token
    return number
