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
from tokengrpc.client.local_errors import closed_while_reading
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
    from tokengrpc.client.errors import TokenStreamError
    from tokengrpc.client.plan import Plan


class TokenStream(Progress):
    """Asynchronous iterable of the tokens of one generation. It can be read once.

    If reading stops early (a `break`, a close, a cancelled task), the stream cancels the generation on the
    server, unless another call started the generation. With `async with`, the cancellation is complete when
    the block exits. Without it, a loop that exits drops its iterator, and asyncio closes the iterator in one
    of its next iterations; an iterator bound to a name (`tokens = aiter(stream)`) stays open as long as the
    name exists.

    Reading raises TokenStreamError. The data received before the error stays available in the attributes.
    """

    def __init__(self, connection: Connection, plan: Plan) -> None:
        """Creates the stream for TokenStreamClient. The call is made when reading begins."""
        super().__init__(Session(plan, connection.policy, random=random))
        self._connection = connection
        self._call: StreamCall | None = None
        self._opened = False
        self._closed = False

    def __aiter__(self) -> AsyncGenerator[Token, None]:
        """Yields all tokens, each once, in order."""
        return self._tokens()

    async def messages(self) -> AsyncGenerator[StreamTokensResponse, None]:
        """Yields all messages as they arrive, notices included. Events that arrive twice are skipped."""
        if self._opened or self._closed:
            raise RuntimeError("a stream is read once: call client.stream() or client.resume() again")
        self._opened = True
        self._connection.open.add(self)
        session = self._session
        action = session.begin(time.monotonic())
        try:
            while not isinstance(action, Finish):
                if isinstance(action, Raise):
                    raise action.error
                call = await self._open_call(action)
                failure = None
                try:
                    async for message in call:
                        if session.receive(message):
                            yield message
                        if session.finished:
                            break
                except grpc.RpcError as error:
                    failure = from_rpc_error(error)
                except asyncio.CancelledError:
                    self._raise_if_closed()
                    raise
                action = await self._after_call(call, failure)
        finally:
            await self.aclose()

    async def cancel(self) -> Generation:
        """Cancels the generation for all its readers and returns its final state.

        The task that reads this stream receives the output so far, then GenerationCancelledError.
        """
        return await self._connection.cancel(self.generation_id)

    async def aclose(self) -> None:
        """Closes the stream, and cancels its generation if this stream started it and it still runs."""
        if self._closed:
            return
        self._closed = True
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

    async def _open_call(self, action: StartCall | ResumeCall) -> StreamCall:
        if action.delay:
            await asyncio.sleep(action.delay)
        if self._closed:
            raise closed_while_reading()
        self._call = self._connection.stream(action, self._session.time_left(time.monotonic()))
        return self._call

    async def _after_call(self, call: StreamCall, failure: TokenStreamError | None) -> Action:
        if self._session.finished and failure is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(TRAILERS_TIMEOUT):
                    await call.code()
        call.cancel()
        return self._session.call_ended(failure, time.monotonic())

    def _raise_if_closed(self) -> None:
        """Raises the stream's own error if another task closed it and the reading task is not cancelled."""
        task = asyncio.current_task()
        if self._closed and (task is None or not task.cancelling()):
            raise closed_while_reading()
