"""Asyncio connection: makes the calls, decodes their errors, and closes the streams that are still open."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.client.actions import StartCall
from tokengrpc.client.channel import CONTROL_TIMEOUT
from tokengrpc.client.errors import TokenStreamError
from tokengrpc.client.status import from_rpc_error
from tokengrpc.client.stubs import aio_admin_stub, aio_stub, aio_usage_stub

if TYPE_CHECKING:
    from tokenstreaming.v1.generation_pb2 import Generation

    from tokengrpc.client.actions import ResumeCall
    from tokengrpc.client.channel import CallMetadata
    from tokengrpc.client.policy import ResumePolicy

Request = TypeVar("Request")
Response = TypeVar("Response")
StreamCall = (
    grpc.aio.UnaryStreamCall[pb.StreamTokensRequest, pb.StreamTokensResponse]
    | grpc.aio.UnaryStreamCall[pb.ResumeTokensRequest, pb.StreamTokensResponse]
)


class Closable(Protocol):
    """Stream that a connection closes before it closes its channel."""

    async def aclose(self) -> None:
        """Closes the stream."""


class Connection:
    """Asyncio channel with the metadata of its calls and the set of its open streams."""

    def __init__(self, channel: grpc.aio.Channel, metadata: CallMetadata, policy: ResumePolicy) -> None:
        self.stub = aio_stub(channel)
        self.usage_stub = aio_usage_stub(channel)
        self.admin_stub = aio_admin_stub(channel)
        self.policy = policy
        self.open: set[Closable] = set()
        self._channel = channel
        self._metadata = metadata
        self._background: set[asyncio.Task[None]] = set()

    def stream(self, action: StartCall | ResumeCall, timeout: float | None) -> StreamCall:
        """Makes the streaming call of a session's action. `timeout` is in seconds."""
        if isinstance(action, StartCall):
            return self.stub.StreamTokens(action.request, timeout=timeout, metadata=self._metadata())
        return self.stub.ResumeTokens(action.request, timeout=timeout, metadata=self._metadata())

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None,
    ) -> Response:
        """Makes a unary call. `timeout` is in seconds. Raises TokenStreamError."""
        try:
            return await method(request, timeout=timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    async def cancel(self, generation_id: str, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Cancels a generation for all its readers and returns it. Raises TokenStreamError."""
        request = pb.CancelGenerationRequest(generation_id=generation_id)
        return (await self.unary(self.stub.CancelGeneration, request, timeout)).generation

    async def get(self, generation_id: str, timeout: float | None) -> Generation:
        """Returns a generation. Raises TokenStreamError."""
        request = pb.GetGenerationRequest(generation_id=generation_id)
        return (await self.unary(self.stub.GetGeneration, request, timeout)).generation

    def cancel_abandoned(self, generation_id: str) -> asyncio.Task[None]:
        """Returns a background task that cancels a generation whose caller stopped reading.

        The task ignores errors: without the cancellation the generation ends after its `detach_ttl`.
        """
        task = asyncio.create_task(self._cancel_abandoned(generation_id))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self) -> None:
        """Closes the open streams, waits for their cancellations, then closes the channel."""
        await asyncio.gather(*(stream.aclose() for stream in tuple(self.open)))
        await asyncio.gather(*self._background)
        await self._channel.close()

    async def _cancel_abandoned(self, generation_id: str) -> None:
        with suppress(TokenStreamError):
            await self.cancel(generation_id, self.policy.cancel_timeout)
