"""A blocking channel in use: the twin of `connection`. Its calls may be made from any thread."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.client.actions import StartCall
from tokengrpc.client.channel import CONTROL_TIMEOUT
from tokengrpc.client.errors import TokenStreamError
from tokengrpc.client.status import from_rpc_error
from tokengrpc.client.stubs import sync_stub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokenstreaming.v1.generation_pb2 import Generation

    from tokengrpc.client.actions import ResumeCall
    from tokengrpc.client.policy import ResumePolicy

Request = TypeVar("Request")
Response = TypeVar("Response")


class SyncStreamCall(Protocol):
    """What is used of a blocking streaming call."""

    def __iter__(self) -> Iterator[pb.StreamTokensResponse]: ...

    def cancel(self) -> bool:
        """Ends it; False when it had ended."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Lets it call when it ends; False, and no call, when it has ended."""


class Closable(Protocol):
    """Something that is open on a connection."""

    def close(self) -> None:
        """Ends it."""


class SyncConnection:
    """A channel, the metadata of its calls, and what is open on it."""

    def __init__(
        self, channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], policy: ResumePolicy
    ) -> None:
        self.stub = sync_stub(channel)
        self.policy = policy
        self.open: set[Closable] = set()
        self._channel = channel
        self._metadata = metadata

    def stream(self, action: StartCall | ResumeCall, timeout: float | None) -> SyncStreamCall:
        """Makes the streaming call that a session asks for."""
        if isinstance(action, StartCall):
            return self.stub.StreamTokens(action.request, timeout=timeout, metadata=self._metadata)
        return self.stub.ResumeTokens(action.request, timeout=timeout, metadata=self._metadata)

    def unary(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None,
    ) -> Response:
        """Makes a unary call. Raises TokenStreamError."""
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def cancel(self, generation_id: str, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Stops a generation for all its readers."""
        request = pb.CancelGenerationRequest(generation_id=generation_id)
        return self.unary(self.stub.CancelGeneration, request, timeout).generation

    def get(self, generation_id: str, timeout: float | None) -> Generation:
        """What is known of a generation."""
        request = pb.GetGenerationRequest(generation_id=generation_id)
        return self.unary(self.stub.GetGeneration, request, timeout).generation

    def leave(self, generation_id: str) -> None:
        """Cancels a generation whose reader stopped.

        Never fails: the generation is gone, or it ends by itself after its `detach_ttl`.
        """
        with suppress(TokenStreamError):
            self.cancel(generation_id, self.policy.cancel_timeout)

    def close(self) -> None:
        """Ends what is open, as if its readers stopped, then the channel."""
        for stream in tuple(self.open):
            stream.close()
        self._channel.close()
