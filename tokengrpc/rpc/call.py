"""One RPC as the handlers see it: all that they know of the transport."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, TypeVar

from tokengrpc.core.tenant import NOBODY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from google.rpc.status_pb2 import Status

    from tokengrpc.core.ports.auth import Peer
    from tokengrpc.core.tenant import Identity
    from tokengrpc.wire.status import Failure

R_co = TypeVar("R_co", covariant=True)


class RpcCall(ABC):
    """A call under way. A transport implements the abstract members.

    A handler whose caller has left is cancelled: it gets CancelledError wherever it waits, in `write` too.
    `failure` describes the generation that the call's errors concern, as it is at that moment.
    """

    def __init__(self, method: str) -> None:
        """`method` is the RPC's name, such as `StreamTokens`."""
        self.method = method
        self.identity: Identity = NOBODY
        self.generation_id = ""
        self.failure: Callable[[], Failure] | None = None
        self.began = time.monotonic()

    @property
    @abstractmethod
    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """The caller's metadata; names in lower case."""

    @property
    @abstractmethod
    def peer(self) -> Peer:
        """The other end of the connection."""

    @property
    @abstractmethod
    def deadline_left(self) -> float | None:
        """Seconds until the caller's deadline; None without one."""

    @abstractmethod
    async def write(self, message: bytes) -> None:
        """Sends one message of a stream; waits while the caller does not read."""

    @abstractmethod
    async def fail(self, status: Status, pushback_ms: int | None) -> None:
        """Ends the call with a status that is not OK.

        `pushback_ms` becomes `grpc-retry-pushback-ms`, which steers the gRPC library's own retries.
        """


class Handler(Protocol[R_co]):
    """The body of an RPC: from the request's bytes to the response's (unary), or to `write` (stream)."""

    def __call__(self, data: bytes, call: RpcCall) -> Awaitable[R_co]:
        """Answers, or raises TokenGrpcError."""
