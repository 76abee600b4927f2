"""A real server on a real socket in the test's own event loop, so that tests can inspect its state."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tokenstreaming.v1 import generation_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.checksums import ChecksumReader
from tokengrpc.client.stubs import aio_stub
from tokengrpc.config import LimitSettings, ModelSettings, Settings, model_settings
from tokengrpc.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from tokengrpc.client.stubs import AioStub
    from tokengrpc.generations.registry import GenerationRegistry
    from tokengrpc.generations.task import GenerationTask

BUILTIN = model_settings(name="builtin")

PLUGINS = ("ledger", "sink", "authenticator", "budget", "observers", "engines")

# Each channel has its own connection. gRPC's own retries would hide failures.
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


def upstream(base_url: str, **more: Any) -> ModelSettings:
    """Returns the settings of a model on an OpenAI-compatible engine, such as a scripted one."""
    settings = {"name": "scripted", "kind": "openai", "base_url": base_url, "api": "chat", **more}
    return model_settings(**settings)


@dataclass
class Served:
    """A running server with a channel and a stub."""

    server: Server
    channel: grpc.aio.Channel
    stub: AioStub

    @property
    def target(self) -> str:
        """The server's address."""
        return f"127.0.0.1:{self.server.port}"

    @property
    def registry(self) -> GenerationRegistry:
        """The server's generations."""
        return self.server.registry

    @property
    def ledger(self) -> Any:
        """The server's ledger. The default is a MemoryLedger, whose `records` tests can read."""
        return self.server.ledger

    @property
    def tasks(self) -> list[GenerationTask]:
        """The server's generations, oldest first."""
        return list(self.server.registry)

    async def get(self, generation_id: str, **call: Any) -> generation_pb2.Generation:
        """Calls GetGeneration."""
        answer = await self.stub.GetGeneration(pb.GetGenerationRequest(generation_id=generation_id), **call)
        return answer.generation

    def stream(self, generation_id: str = "", **fields: Any) -> Any:
        """Calls StreamTokens with these fields, and the prompt "hello" if no input is given."""
        call = {key: fields.pop(key) for key in ("timeout", "metadata") if key in fields}
        return self.stub.StreamTokens(self.request(generation_id, **fields), **call)

    def request(self, generation_id: str = "", **fields: Any) -> pb.StreamTokensRequest:
        """Returns a request with these fields, and the prompt "hello" if no input is given."""
        if not {"prompt", "conversation", "prompt_token_ids"} & fields.keys():
            fields["prompt"] = "hello"
        return pb.StreamTokensRequest(generation_id=generation_id, **fields)

    def resume(
        self, generation_id: str, after: int = 0, *, log: str = "", checksum: int | None = None, **call: Any
    ) -> Any:
        """Calls ResumeTokens, with the incarnation of this log and this checksum of the output."""
        request = pb.ResumeTokensRequest(
            generation_id=generation_id, after_sequence=after, log_incarnation=log, output_checksum=checksum
        )
        return self.stub.ResumeTokens(request, **call)

    async def cancel(self, generation_id: str) -> generation_pb2.Generation:
        """Calls CancelGeneration."""
        request = pb.CancelGenerationRequest(generation_id=generation_id)
        return (await self.stub.CancelGeneration(request)).generation

    @asynccontextmanager
    async def another(self) -> AsyncIterator[Served]:
        """Connects to the same server with another connection."""
        async with grpc.aio.insecure_channel(self.target, options=OPTIONS) as channel:
            yield Served(self.server, channel, aio_stub(channel))


@asynccontextmanager
async def serving(*models: ModelSettings, **settings: Any) -> AsyncIterator[Served]:
    """Starts a server, which stops when the block exits.

    `limits` are the fields of LimitSettings. The arguments in PLUGINS are objects for the server; all others
    are fields of Settings.
    """
    # Clients share the loop with the server, which would reject calls because of what the clients do.
    limits = LimitSettings(**{"min_generations": 1_000_000, **settings.pop("limits", {})})
    plugins = {
        key: settings.pop(key) for key in PLUGINS if key in settings and not isinstance(settings[key], str)
    }
    chosen = Settings(listen="127.0.0.1:0", models=models or (BUILTIN,), limits=limits, **settings)
    server = Server(chosen, **{"observers": (), **plugins})
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=OPTIONS) as channel:
            yield Served(server, channel, aio_stub(channel))
    finally:
        await server.stop()


@dataclass
class Outcome:
    """The messages of a call, its status and its error details."""

    messages: list[pb.StreamTokensResponse]
    code: grpc.StatusCode
    message: str
    trailers: dict[str, Any]
    info: error_details_pb2.ErrorInfo | None = None
    failure: generation_pb2.GenerationFailure | None = None
    status: Any = None

    @property
    def tokens(self) -> list[generation_pb2.Token]:
        """The tokens of all messages."""
        return [token for message in self.messages for token in message.tokens]

    @property
    def text(self) -> str:
        """The text of all tokens."""
        return "".join(token.text for token in self.tokens)

    @property
    def finished(self) -> generation_pb2.Finished | None:
        """The event `finished`, which is at most one and the last message."""
        found = [m.finished for m in self.messages if m.HasField("finished")]
        assert len(found) <= 1, "more than one finished"
        assert not found or self.messages[-1].HasField("finished"), "finished is not the last message"
        return found[0] if found else None

    @property
    def events(self) -> list[pb.StreamTokensResponse]:
        """The messages that are not notices."""
        return [m for m in self.messages if m.WhichOneof("notice") is None]

    def detail(self, kind: Any) -> Any:
        """Returns the error detail of this message type; None if there is none."""
        for packed in self.status.details if self.status is not None else ():
            if packed.Is(kind.DESCRIPTOR):
                found = kind()
                packed.Unpack(found)
                return found
        return None


async def collect(call: Any) -> Outcome:
    """Reads a stream to its end and returns the outcome, whether it succeeded or failed."""
    messages: list[pb.StreamTokensResponse] = []
    try:
        # Not `async for`: grpc.aio allows one style per call, and tests read the first messages with `read`.
        while (message := await call.read()) is not grpc.aio.EOF:
            messages.append(message)
    except grpc.aio.AioRpcError as error:
        return failed(error, messages)
    except asyncio.CancelledError:
        if not call.cancelled():
            raise
    trailers = dict(await call.trailing_metadata() or ())
    return Outcome(messages, await call.code(), await call.details(), trailers)


async def failing(awaitable: Any) -> Outcome:
    """Returns the outcome of a unary call, which must fail."""
    try:
        answer = await awaitable
    except grpc.aio.AioRpcError as error:
        return failed(error, [])
    raise AssertionError(f"the call succeeded: {answer}")


def failed(error: grpc.aio.AioRpcError, messages: list[Any]) -> Outcome:
    """Returns the outcome of a call that failed after these messages."""
    status = rpc_status.from_call(error)
    outcome = Outcome(
        messages, error.code(), error.details() or "", dict(error.trailing_metadata() or ()), status=status
    )
    outcome.info = outcome.detail(error_details_pb2.ErrorInfo)
    outcome.failure = outcome.detail(generation_pb2.GenerationFailure)
    return outcome


async def until(condition: Callable[[], Any], what: str = "", seconds: float = 20.0) -> Any:
    """Waits until a condition is true, and returns its value. Fails after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (value := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"never became true: {what or condition}"
        await asyncio.sleep(0.005)
    return value


async def read_until(call: Any, condition: Callable[[pb.StreamTokensResponse], Any]) -> list[Any]:
    """Reads messages up to and including the first one that satisfies a condition."""
    messages = []
    while True:
        message = await call.read()
        assert message is not grpc.aio.EOF, "the stream ended early"
        messages.append(message)
        if condition(message):
            return messages


def has(text: str) -> Callable[[pb.StreamTokensResponse], bool]:
    """Returns the condition that a message has a token with this text."""
    return lambda message: any(text in token.text for token in message.tokens)


def check_gapless(messages: Iterable[pb.StreamTokensResponse], after: int = 0) -> None:
    """Checks the contract's rule 2: no gaps, and no values that decrease.

    Sequences and token indexes have no gap. Emit times and usage never decrease. Parts of the usage are at
    most their totals. Checksums are those of the output.
    """
    sequence, index, emitted = after, None, (0, 0)
    reader = ChecksumReader(None if after else 0)
    output: dict[Any, int] = {}  # by source
    for message in messages:
        reader.take(message)
        if message.WhichOneof("notice"):
            assert message.sequence == sequence
            continue
        assert message.sequence > sequence
        sequence = message.sequence
        for token in message.tokens:
            assert index is None or token.index == index
            index = token.index + token.count
            now = (token.emit_time.seconds, token.emit_time.nanos)
            assert now >= emitted
            emitted = now
        assert message.usage.output_token_count >= output.get(message.usage.source, 0)
        output[message.usage.source] = message.usage.output_token_count
        assert message.usage.reasoning_token_count <= message.usage.output_token_count
        assert message.usage.cached_input_token_count <= message.usage.input_token_count
        assert message.usage.cache_write_input_token_count <= message.usage.input_token_count
