"""A channel in use: makes the calls, turns their errors into typed ones, and ends what is still open."""

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
from tokengrpc.client.stubs import aio_stub

if TYPE_CHECKING:
    from tokenstreaming.v1.generation_pb2 import Generation

    from tokengrpc.client.actions import ResumeCall
    from tokengrpc.client.policy import ResumePolicy

Request = TypeVar("Request")
Response = TypeVar("Response")
StreamCall = (
    grpc.aio.UnaryStreamCall[pb.StreamTokensRequest, pb.StreamTokensResponse]
    | grpc.aio.UnaryStreamCall[pb.ResumeTokensRequest, pb.StreamTokensResponse]
)


class Closable(Protocol):
    """Something that is open on a connection."""

    async def aclose(self) -> None:
        """Ends it."""


class Connection:
    """A channel, the metadata of its calls, and what is open on it."""

    def __init__(
        self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], policy: ResumePolicy
    ) -> None:
        self.stub = aio_stub(channel)
        self.policy = policy
        self.open: set[Closable] = set()
        self._channel = channel
        self._metadata = metadata
        self._background: set[asyncio.Task[None]] = set()

    def stream(self, action: StartCall | ResumeCall, timeout: float | None) -> StreamCall:
        """Makes the streaming call that a session asks for."""
        if isinstance(action, StartCall):
            return self.stub.StreamTokens(action.request, timeout=timeout, metadata=self._metadata)
        return self.stub.ResumeTokens(action.request, timeout=timeout, metadata=self._metadata)

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None,
    ) -> Response:
        """Makes a unary call. Raises TokenStreamError."""
        try:
            return await method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    async def cancel(self, generation_id: str, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Stops a generation for all its readers."""
        request = pb.CancelGenerationRequest(generation_id=generation_id)
        return (await self.unary(self.stub.CancelGeneration, request, timeout)).generation

    async def get(self, generation_id: str, timeout: float | None) -> Generation:
        """What is known of a generation."""
        request = pb.GetGenerationRequest(generation_id=generation_id)
        return (await self.unary(self.stub.GetGeneration, request, timeout)).generation

    def leave(self, generation_id: str) -> asyncio.Task[None]:
        """Cancels, in a task of its own, a generation whose reader stopped.

        The task never fails: the generation is gone, or it ends by itself after its `detach_ttl`.
        """
        task = asyncio.create_task(self._leave(generation_id))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self) -> None:
        """Ends what is open, as if its readers stopped, then the channel."""
        await asyncio.gather(*(stream.aclose() for stream in tuple(self.open)))
        await asyncio.gather(*self._background)
        await self._channel.close()

    async def _leave(self, generation_id: str) -> None:
        with suppress(TokenStreamError):
            await self.cancel(generation_id, self.policy.cancel_timeout)
