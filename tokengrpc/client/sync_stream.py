"""One generation as a blocking iterable of tokens: the twin of `stream`, with the same policy."""

from __future__ import annotations

import threading
import time
from contextlib import closing
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
    from collections.abc import Generator
    from types import TracebackType

    from tokenstreaming.v1.generation_pb2 import Generation, Token
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse

    from tokengrpc.client.actions import Action, ResumeCall, StartCall
    from tokengrpc.client.errors import TokenStreamError
    from tokengrpc.client.plan import Plan
    from tokengrpc.client.sync_connection import SyncConnection, SyncStreamCall


class SyncTokenStream(Progress):
    """The tokens of one generation; read once, by one thread. Any thread may close or cancel it.

    Leaving it early (breaking out of the loop, closing, an exception) stops the generation on the server,
    unless the stream only reads what another call started. `with` has done so when it is left. Without it, a
    loop that is left drops its iterator, which closes it; only an iterator with a name of its own
    (`tokens = iter(stream)`) stays open as long as the name does.

    Raises TokenStreamError while it is read; what had arrived stays readable in its attributes.
    """

    def __init__(self, connection: SyncConnection, plan: Plan) -> None:
        """Made by SyncTokenStreamClient; the call itself is made when reading begins."""
        super().__init__(Session(plan, connection.policy, random=random))
        self._connection = connection
        self._call: SyncStreamCall | None = None
        self._opened = False
        self._closed = threading.Event()

    def __iter__(self) -> Generator[Token, None, None]:
        """All tokens, each once, in order."""
        with closing(self.messages()) as messages:
            for message in messages:
                yield from message.tokens

    def messages(self) -> Generator[StreamTokensResponse, None, None]:
        """All messages as they come, notices included, without events that had arrived before."""
        if self._opened or self._closed.is_set():
            raise RuntimeError("a stream is read once: call client.stream() or client.resume() again")
        self._opened = True
        self._connection.open.add(self)
        session = self._session
        action = session.begin(time.monotonic())
        try:
            while not isinstance(action, Finish):
                if isinstance(action, Raise):
                    raise action.error
                call = self._open(action)
                failure = None
                try:
                    for message in call:
                        if session.received(message):
                            yield message
                        if session.finished:
                            break
                except grpc.RpcError as error:
                    failure = from_rpc_error(error)
                action = self._ended(call, failure)
        finally:
            self.close()

    def cancel(self) -> Generation:
        """Stops the generation for all its readers and answers it as it ended.

        Whoever reads this stream gets GenerationCancelledError after what was generated until then.
        """
        return self._connection.cancel(self.generation_id)

    def close(self) -> None:
        """Ends the stream and, when its generation still runs and is this stream's own, the generation."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._connection.open.discard(self)
        if self._call is not None:
            self._call.cancel()
        if self._session.abandoned:
            self._connection.leave(self.generation_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, action: StartCall | ResumeCall) -> SyncStreamCall:
        if self._closed.wait(action.delay) if action.delay else self._closed.is_set():
            raise closed_while_read()
        self._call = self._connection.stream(action, self._session.time_left(time.monotonic()))
        return self._call

    def _ended(self, call: SyncStreamCall, failure: TokenStreamError | None) -> Action:
        if self._closed.is_set():
            raise closed_while_read()
        if self._session.finished and failure is None:
            trailers = threading.Event()
            if call.add_callback(trailers.set):
                trailers.wait(TRAILERS_TIMEOUT)
        call.cancel()
        return self._session.call_ended(failure, time.monotonic())
