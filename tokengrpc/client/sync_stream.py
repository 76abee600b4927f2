"""Blocking iterable of the tokens of one generation, like `stream.py` and with the same policy."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from random import random
from typing import TYPE_CHECKING, Self

import grpc

from tokengrpc.client.actions import Finish, Raise
from tokengrpc.client.channel import TRAILERS_TIMEOUT
from tokengrpc.client.progress import Progress
from tokengrpc.client.resume import Session
from tokengrpc.client.status import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from tokenstreaming.v1.generation_pb2 import Generation, Token
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse

    from tokengrpc.client.actions import Action, ResumeCall, StartCall
    from tokengrpc.client.connections import Connections
    from tokengrpc.client.cursor import Cursor
    from tokengrpc.client.errors import TokenStreamError
    from tokengrpc.client.plan import Plan
    from tokengrpc.client.policy import ResumePolicy
    from tokengrpc.client.sync_connection import SyncConnection, SyncStreamCall


class SyncTokenStream(Progress):
    """Blocking iterable of the tokens of one generation.

    One thread can read it, once. Any thread may close it or cancel its generation.

    If reading stops early (a `break`, a close, an exception), the stream cancels the generation on the
    server, unless another call started the generation. With `with`, the cancellation is complete when the
    block exits. Without it, a loop that exits drops its iterator, which closes the stream; an iterator bound
    to a name (`tokens = iter(stream)`) stays open as long as the name exists.

    Reading raises TokenStreamError. The data received before the error stays available in the attributes.
    """

    def __init__(self, connections: Connections[SyncConnection], policy: ResumePolicy, plan: Plan) -> None:
        """Creates the stream for SyncTokenStreamClient. The call is made when reading begins."""
        super().__init__(Session(plan, policy, random=random))
        self._connections = connections
        self._connection: SyncConnection | None = None
        self._call: SyncStreamCall | None = None
        self._opened = False
        self._closed = threading.Event()
        # Another thread may detach: then each message belongs to one reader alone.
        self._receiving = threading.Lock()

    def __iter__(self) -> Generator[Token, None, None]:
        """Yields all tokens, each once, in order."""
        with closing(self.messages()) as messages:
            for message in messages:
                yield from message.tokens

    def messages(self) -> Generator[StreamTokensResponse, None, None]:
        """Yields all messages as they arrive, notices included. Events that arrive twice are skipped."""
        connection = self._open()
        session = self._session
        action = session.begin(time.monotonic())
        try:
            while not isinstance(action, Finish):
                if isinstance(action, Raise):
                    raise action.error
                call = self._open_call(connection, action)
                if call is None:
                    action = session.stopped()
                    continue
                failure = None
                try:
                    for message in call:
                        with self._receiving:
                            new = session.receive(message)
                        if new:
                            yield message
                        if session.finished or session.detached:
                            break
                except grpc.RpcError as error:
                    failure = from_rpc_error(error)
                action = self._after_call(call, failure)
        finally:
            self.close()

    def cancel(self) -> Generation:
        """Cancels the generation for all its readers and returns its final state.

        The thread that reads this stream receives the output so far, then GenerationCancelledError.
        """
        return self._connections.here().cancel(self.generation_id)

    def detach(self) -> Cursor:
        """Closes the stream, leaves its generation running, and returns the cursor for another reader.

        The loop that reads this stream still gets the rest of the last message, and then ends normally. The
        generation waits `detach_ttl` for a reader. Raises InvalidRequestError (NOT_RESUMABLE), and changes
        nothing, if the stream is not resumable.
        """
        with self._receiving:
            cursor = self._session.detach()
        self.close()
        return cursor

    def close(self) -> None:
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
            # An error is raised at once: the deadline may have passed, and the server may not answer.
            self._connection.cancel_abandoned(self.generation_id, wait=self._session.error is None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> SyncConnection:
        """Opens the stream, once, and returns its connection."""
        if self._opened or self._closed.is_set():
            raise RuntimeError("a stream is read once: call client.stream() or client.resume() again")
        connection = self._connection = self._connections.here()
        self._opened = True
        connection.open.add(self)
        return connection

    def _open_call(self, connection: SyncConnection, action: StartCall | ResumeCall) -> SyncStreamCall | None:
        """Makes a call after its delay. Returns None if the stream was closed meanwhile."""
        if self._closed.wait(action.delay) if action.delay else self._closed.is_set():
            return None
        self._call = connection.stream(action, self._session.time_left(time.monotonic()))
        if self._closed.is_set():
            # Another thread closed the stream before it could see this call.
            self._call.cancel()
        return self._call

    def _after_call(self, call: SyncStreamCall, failure: TokenStreamError | None) -> Action:
        if self._closed.is_set():
            return self._session.stopped()
        if self._session.finished and failure is None:
            trailers = threading.Event()
            if call.add_callback(trailers.set):
                trailers.wait(TRAILERS_TIMEOUT)
        call.cancel()
        return self._session.call_ended(failure, time.monotonic())
