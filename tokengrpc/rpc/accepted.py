"""Calls that an acceptor has accepted: the same as those of grpc.aio, with fewer tasks and operations.

For each call, grpc.aio runs two tasks, and an operation of its own that waits for the caller to leave. A call
that is refused needs neither: it ends in the turn of the loop in which its request has been read. Here, one
task handles a call. Another waits for the caller to leave, but only if the handler waits for something.

This uses private parts of grpc.aio: see `acceptors`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpc._cython import cygrpc

from tokengrpc.rpc.grpc_aio import GrpcCall

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status

    from tokengrpc.rpc.grpc_aio import Method

_NO_FLAGS = 0
_OK = 0

NEEDED = (
    "ReceiveCloseOnServerOperation",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "_ServicerContext",
    "_handle_cancellation_from_core",
    "execute_batch",
)
"""Names in grpc.aio that this uses."""


async def serve(method: Method, state: Any) -> None:  # noqa: ANN401 - private to grpc.aio
    """Handles a call, whose state an acceptor got from grpc.aio, from its request to its status."""
    call = AcceptedCall(method, state)
    try:
        response = await method.interceptor.run(method.handler, call)
        if not call.ended:
            await call.finish(response)
    finally:
        call.release()


class AcceptedCall(GrpcCall):
    """Call that this process ends itself. It is made in the task that handles it."""

    def __init__(self, method: Method, state: Any) -> None:  # noqa: ANN401 - private to grpc.aio
        self._loop = asyncio.get_running_loop()
        context = cygrpc._ServicerContext(state, None, None, self._loop)  # noqa: SLF001
        super().__init__(method.name, context, method.trailers, method.scopes)
        self._state = state
        self._handling = asyncio.current_task()
        self._watching: asyncio.Task[None] | None = None
        self._written = False
        self.ended = False
        """Whether the status was sent, or is being sent."""

    async def _next_message(self) -> Any:  # noqa: ANN401 - bytes, or EOF
        message = await super()._next_message()
        # By the next turn, a call that is refused has ended.
        self._loop.call_soon(self._watch)
        return message

    async def write(self, message: bytes) -> None:
        """See `RpcCall`."""
        self._written = True
        await super().write(message)

    async def finish(self, response: bytes | None) -> None:
        """Ends the call well, with a response if it is not a stream."""
        sent = () if response is None else (cygrpc.SendMessageOperation(response, _NO_FLAGS),)
        await self._end(_OK, "", self._trailers(), *sent)

    async def fail(self, status: Status, pushback_ms: int | None) -> None:
        """See `RpcCall`."""
        await self._end(status.code, status.message, self._failure_trailers(status, pushback_ms))

    def release(self) -> None:
        """Lets go of the task, whose exception has the frames that refer to this call."""
        self.ended = True
        self._handling = None

    async def _end(self, code: int, details: str, trailers: tuple[Any, ...], *operations: Any) -> None:  # noqa: ANN401 - private to grpc.aio
        self.ended = True
        if not self._written:
            operations = (cygrpc.SendInitialMetadataOperation((), _NO_FLAGS), *operations)
        operations += (cygrpc.SendStatusFromServerOperation(trailers, code, details, _NO_FLAGS),)
        if self._watching is None:
            # gRPC resets a call that is released before its end was received.
            operations += (cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),)
        try:
            await cygrpc.execute_batch(self._state, operations, self._loop)
        except cygrpc.ExecuteBatchError:
            # The caller left before the status could be sent.
            raise asyncio.CancelledError from None

    def _watch(self) -> None:
        """Cancels the handler when the caller leaves, or its deadline passes."""
        if not self.ended:
            watch = cygrpc._handle_cancellation_from_core  # noqa: SLF001
            self._watching = self._loop.create_task(watch(self._handling, self._state, self._loop))
