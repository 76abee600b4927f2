"""Blocking connection, like `connection.py`. Its methods may be called from any thread."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.client.actions import StartCall
from tokengrpc.client.channel import CONTROL_TIMEOUT
from tokengrpc.client.errors import TokenStreamError
from tokengrpc.client.status import from_rpc_error
from tokengrpc.client.stubs import sync_admin_stub, sync_stub, sync_usage_stub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokenstreaming.v1.generation_pb2 import Generation

    from tokengrpc.client.actions import ResumeCall
    from tokengrpc.client.channel import CallMetadata
    from tokengrpc.client.policy import ResumePolicy

Request = TypeVar("Request")
Response = TypeVar("Response")


class SyncStreamCall(Protocol):
    """The part of a blocking streaming call that the client uses."""

    def __iter__(self) -> Iterator[pb.StreamTokensResponse]: ...

    def cancel(self) -> bool:
        """Cancels the call. Returns False if it has already ended."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Registers a callback for the end of the call. Returns False and drops it if the call has ended."""


class Closable(Protocol):
    """Stream that a connection closes before it closes its channel."""

    def close(self) -> None:
        """Closes the stream."""


class SyncConnection:
    """Blocking channel with the metadata of its calls and the set of its open streams."""

    def __init__(self, channel: grpc.Channel, metadata: CallMetadata, policy: ResumePolicy) -> None:
        self.stub = sync_stub(channel)
        self.usage_stub = sync_usage_stub(channel)
        self.admin_stub = sync_admin_stub(channel)
        self.policy = policy
        self.open: set[Closable] = set()
        self._channel = channel
        self._metadata = metadata
        self._cancellations: set[grpc.Future[pb.CancelGenerationResponse]] = set()

    def stream(self, action: StartCall | ResumeCall, timeout: float | None) -> SyncStreamCall:
        """Makes the streaming call of a session's action. `timeout` is in seconds."""
        if isinstance(action, StartCall):
            return self.stub.StreamTokens(action.request, timeout=timeout, metadata=self._metadata())
        return self.stub.ResumeTokens(action.request, timeout=timeout, metadata=self._metadata())

    def unary(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None,
    ) -> Response:
        """Makes a unary call. `timeout` is in seconds. Raises TokenStreamError."""
        try:
            return method(request, timeout=timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def cancel(self, generation_id: str, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Cancels a generation for all its readers and returns it. Raises TokenStreamError."""
        request = pb.CancelGenerationRequest(generation_id=generation_id)
        return self.unary(self.stub.CancelGeneration, request, timeout).generation

    def get(self, generation_id: str, timeout: float | None) -> Generation:
        """Returns a generation. Raises TokenStreamError."""
        request = pb.GetGenerationRequest(generation_id=generation_id)
        return self.unary(self.stub.GetGeneration, request, timeout).generation

    def cancel_abandoned(self, generation_id: str, *, wait: bool = True) -> None:
        """Cancels a generation whose caller stopped reading, in the background unless `wait`.

        Errors are ignored: without the cancellation the generation ends after its `detach_ttl`.
        """
        request = pb.CancelGenerationRequest(generation_id=generation_id)
        try:
            metadata = self._metadata()
        except TokenStreamError:
            return
        call = self.stub.CancelGeneration.future(
            request, timeout=self.policy.cancel_timeout, metadata=metadata
        )
        self._cancellations.add(call)
        call.add_done_callback(self._cancellations.discard)
        if wait:
            _wait(call)

    def close(self) -> None:
        """Closes the open streams, waits for their cancellations, then closes the channel."""
        for stream in tuple(self.open):
            stream.close()
        for call in tuple(self._cancellations):
            _wait(call)
        self._channel.close()


def _wait(call: grpc.Future[pb.CancelGenerationResponse]) -> None:
    with suppress(grpc.FutureCancelledError):  # by a client that another thread closed
        call.exception()
