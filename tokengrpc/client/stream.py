"""Asynchronous iterable of the tokens of one generation, over as many calls as needed."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from random import random
from typing import TYPE_CHECKING, Self

import grpc

from tokengrpc.client.actions import Finish, Raise
from tokengrpc.client.channel import TRAILERS_TIMEOUT
from tokengrpc.client.progress import Progress
from tokengrpc.client.resume import Session
from tokengrpc.client.status import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from tokenstreaming.v1.generation_pb2 import Generation, Token
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse

    from tokengrpc.client.actions import Action, ResumeCall, StartCall
    from tokengrpc.client.connection import Connection, StreamCall
    from tokengrpc.client.connections import Connections
    from tokengrpc.client.cursor import Cursor
    from tokengrpc.client.errors import TokenStreamError
    from tokengrpc.client.plan import Plan
    from tokengrpc.client.policy import ResumePolicy


class TokenStream(Progress):
    """Asynchronous iterable of the tokens of one generation. It can be read once.

    If reading stops early (a `break`, a close, a cancelled task), the stream cancels the generation on the
    server, unless another call started the generation. With `async with`, the cancellation is complete when
    the block exits. Without it, a loop that exits drops its iterator, and asyncio closes the iterator in one
    of its next iterations; an iterator bound to a name (`tokens = aiter(stream)`) stays open as long as the
    name exists.

    Reading raises TokenStreamError. The data received before the error stays available in the attributes.
    """

    def __init__(self, connections: Connections[Connection], policy: ResumePolicy, plan: Plan) -> None:
        """Creates the stream for TokenStreamClient. The call is made when reading begins."""
        super().__init__(Session(plan, policy, random=random))
        self._connections = connections
        self._connection: Connection | None = None
        self._call: StreamCall | None = None
        self._opened = False
        self._closed = asyncio.Event()

    def __aiter__(self) -> AsyncGenerator[Token, None]:
        """Yields all tokens, each once, in order."""
        return self._tokens()

    async def messages(self) -> AsyncGenerator[StreamTokensResponse, None]:
        """Yields all messages as they arrive, notices included. Events that arrive twice are skipped."""
        connection = self._open()
        session = self._session
        action = session.begin(time.monotonic())
        try:
            while not isinstance(action, Finish):
                if isinstance(action, Raise):
                    raise action.error
                call = await self._open_call(connection, action)
                if call is None:
                    action = session.stopped()
                    continue
                failure = None
                try:
                    async for message in call:
                        if session.receive(message):
                            yield message
                        if session.finished or session.detached:
                            break
                except grpc.RpcError as error:
                    failure = from_rpc_error(error)
                except asyncio.CancelledError:
                    if not self._closed_elsewhere():
                        raise
                action = await self._after_call(call, failure)
        finally:
            await self.aclose()

    async def cancel(self) -> Generation:
        """Cancels the generation for all its readers and returns its final state.

        The task that reads this stream receives the output so far, then GenerationCancelledError.
        """
        return await self._connections.here().cancel(self.generation_id)

    async def detach(self) -> Cursor:
        """Closes the stream, leaves its generation running, and returns the cursor for another reader.

        The loop that reads this stream still gets the rest of the last message, and then ends normally. The
        generation waits `detach_ttl` for a reader. Raises InvalidRequestError (NOT_RESUMABLE), and changes
        nothing, if the stream is not resumable.
        """
        cursor = self._session.detach()
        await self.aclose()
        return cursor

    async def aclose(self) -> None:
        """Closes the stream, and cancels its generation if this stream started it and it still runs."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._connection is None:
            return
        self._connection.open.discard(self)
        if self._call is not None:
            self._call.cancel()
        if self._session.needs_cancel:
            cancellation = self._connection.cancel_abandoned(self.generation_id)
            if self._session.error is None:
                # Shielded, so that a second cancellation of this task does not abort CancelGeneration.
                await asyncio.shield(cancellation)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _tokens(self) -> AsyncGenerator[Token, None]:
        async with aclosing(self.messages()) as messages:
            async for message in messages:
                for token in message.tokens:
                    yield token

    def _open(self) -> Connection:
        """Opens the stream, once, and returns its connection."""
        if self._opened or self._closed.is_set():
            raise RuntimeError("a stream is read once: call client.stream() or client.resume() again")
        connection = self._connection = self._connections.here()
        self._opened = True
        connection.open.add(self)
        return connection

    async def _open_call(self, connection: Connection, action: StartCall | ResumeCall) -> StreamCall | None:
        """Makes a call after its delay. Returns None if the stream was closed meanwhile."""
        if action.delay:
            with suppress(TimeoutError):
                async with asyncio.timeout(action.delay):
                    await self._closed.wait()
        if self._closed.is_set():
            return None
        self._call = connection.stream(action, self._session.time_left(time.monotonic()))
        return self._call

    async def _after_call(self, call: StreamCall, failure: TokenStreamError | None) -> Action:
        if self._closed.is_set():
            return self._session.stopped()
        if self._session.finished and failure is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(TRAILERS_TIMEOUT):
                    await call.code()
        call.cancel()
        return self._session.call_ended(failure, time.monotonic())

    def _closed_elsewhere(self) -> bool:
        """Returns whether another task closed the stream, and the reading task itself is not cancelled."""
        task = asyncio.current_task()
        return self._closed.is_set() and (task is None or not task.cancelling())
