"""The interface between handlers and the transport."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, TypeVar

from tokengrpc.core.tenant import NOBODY
from tokengrpc.core.trace import NO_TRACE, TraceContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from google.rpc.status_pb2 import Status

    from tokengrpc.core.ports.auth import Peer
    from tokengrpc.core.tenant import Identity, Scope
    from tokengrpc.wire.status import Failure

R_co = TypeVar("R_co", covariant=True)


class RpcCall(ABC):
    """A running call. A transport implements the abstract members.

    If the caller leaves, the handler is cancelled: CancelledError is raised wherever it waits, also in
    `write`. `failure` returns the current state of the generation that errors of the call concern.
    `sent_bytes` and `received_bytes` count the bytes of the messages that were sent and received. `trace` is
    the call's place in a trace. Its caller needs one of `scopes`, if there are any.
    """

    def __init__(self, method: str, scopes: tuple[Scope, ...] = ()) -> None:
        """Takes the name of the RPC, such as `StreamTokens`."""
        self.method = method
        self.scopes = scopes
        self.identity: Identity = NOBODY
        self.generation_id = ""
        self.failure: Callable[[], Failure] | None = None
        self.trace: TraceContext = NO_TRACE
        self.began = time.monotonic()
        self.sent_bytes = self.received_bytes = 0

    @property
    @abstractmethod
    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Metadata that the caller sent; names are in lower case."""

    @property
    @abstractmethod
    def peer(self) -> Peer:
        """Other end of the connection."""

    @property
    @abstractmethod
    def deadline_left(self) -> float | None:
        """Seconds until the caller's deadline; None if there is none."""

    @abstractmethod
    async def receive(self) -> bytes | None:
        """Waits for the request and returns its bytes; None if the caller ends its side without one."""

    @abstractmethod
    async def write(self, message: bytes) -> None:
        """Sends one message of a stream. Waits while the caller does not read."""

    @abstractmethod
    async def fail(self, status: Status, pushback_ms: int | None) -> None:
        """Ends the call with a status that is not OK.

        `pushback_ms` is sent as `grpc-retry-pushback-ms`, which controls the gRPC library's own retries.
        """


class Handler(Protocol[R_co]):
    """Implementation of an RPC. Takes the request's bytes; returns the response's, or writes a stream."""

    def __call__(self, data: bytes, call: RpcCall) -> Awaitable[R_co]:
        """Handles a call. Raises TokenGrpcError."""
