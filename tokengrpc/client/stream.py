"""One generation as an asynchronous iterable of tokens, for as many connections as that takes."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from random import random
from typing import TYPE_CHECKING, Self

import grpc

from tokengrpc.client.actions import Finish, Raise
from tokengrpc.client.channel import TRAILERS_TIMEOUT
from tokengrpc.client.endings import closed_while_read
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
    """The tokens of one generation; read once.

    Leaving it early (breaking out of the loop, closing, cancelling the task) stops the generation on the
    server, unless the stream only reads what another call started. `async with` has done so when it is left.
    Without it, a loop that is left drops its iterator, which asyncio then closes in its next turns; only an
    iterator with a name of its own (`tokens = aiter(stream)`) stays open as long as the name does.

    Raises TokenStreamError while it is read; what had arrived stays readable in its attributes.
    """

    def __init__(self, connection: Connection, plan: Plan) -> None:
        """Made by TokenStreamClient; the call itself is made when reading begins."""
        super().__init__(Session(plan, connection.policy, random=random))
        self._connection = connection
        self._call: StreamCall | None = None
        self._opened = False
        self._closed = False

    def __aiter__(self) -> AsyncGenerator[Token, None]:
        """All tokens, each once, in order."""
        return self._tokens()

    async def messages(self) -> AsyncGenerator[StreamTokensResponse, None]:
        """All messages as they come, notices included, without events that had arrived before."""
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
                call = await self._open(action)
                failure = None
                try:
                    async for message in call:
                        if session.received(message):
                            yield message
                        if session.finished:
                            break
                except grpc.RpcError as error:
                    failure = from_rpc_error(error)
                except asyncio.CancelledError:
                    self._explain_cancellation()
                    raise
                action = await self._ended(call, failure)
        finally:
            await self.aclose()

    async def cancel(self) -> Generation:
        """Stops the generation for all its readers and answers it as it ended.

        Whoever reads this stream gets GenerationCancelledError after what was generated until then.
        """
        return await self._connection.cancel(self.generation_id)

    async def aclose(self) -> None:
        """Ends the stream and, when its generation still runs and is this stream's own, the generation."""
        if self._closed:
            return
        self._closed = True
        self._connection.open.discard(self)
        if self._call is not None:
            self._call.cancel()
        if self._session.abandoned:
            leaving = self._connection.leave(self.generation_id)
            if self._session.error is None:
                # A second cancellation of the waiting task does not stop the leaving.
                await asyncio.shield(leaving)

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

    async def _open(self, action: StartCall | ResumeCall) -> StreamCall:
        if action.delay:
            await asyncio.sleep(action.delay)
        if self._closed:
            raise closed_while_read()
        self._call = self._connection.stream(action, self._session.time_left(time.monotonic()))
        return self._call

    async def _ended(self, call: StreamCall, failure: TokenStreamError | None) -> Action:
        if self._session.finished and failure is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(TRAILERS_TIMEOUT):
                    await call.code()
        call.cancel()
        return self._session.call_ended(failure, time.monotonic())

    def _explain_cancellation(self) -> None:
        """Raises the stream's own error when it was closed elsewhere: its reader's task is not cancelled."""
        task = asyncio.current_task()
        if self._closed and (task is None or not task.cancelling()):
            raise closed_while_read()
