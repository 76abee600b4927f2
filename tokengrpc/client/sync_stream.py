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
from tokengrpc.client.local_errors import closed_while_reading
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
    """Blocking iterable of the tokens of one generation.

    One thread can read it, once. Any thread may close it or cancel its generation.

    If reading stops early (a `break`, a close, an exception), the stream cancels the generation on the
    server, unless another call started the generation. With `with`, the cancellation is complete when the
    block exits. Without it, a loop that exits drops its iterator, which closes the stream; an iterator bound
    to a name (`tokens = iter(stream)`) stays open as long as the name exists.

    Reading raises TokenStreamError. The data received before the error stays available in the attributes.
    """

    def __init__(self, connection: SyncConnection, plan: Plan) -> None:
        """Creates the stream for SyncTokenStreamClient. The call is made when reading begins."""
        super().__init__(Session(plan, connection.policy, random=random))
        self._connection = connection
        self._call: SyncStreamCall | None = None
        self._opened = False
        self._closed = threading.Event()

    def __iter__(self) -> Generator[Token, None, None]:
        """Yields all tokens, each once, in order."""
        with closing(self.messages()) as messages:
            for message in messages:
                yield from message.tokens

    def messages(self) -> Generator[StreamTokensResponse, None, None]:
        """Yields all messages as they arrive, notices included. Events that arrive twice are skipped."""
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
                call = self._open_call(action)
                failure = None
                try:
                    for message in call:
                        if session.receive(message):
                            yield message
                        if session.finished:
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
        return self._connection.cancel(self.generation_id)

    def close(self) -> None:
        """Closes the stream, and cancels its generation if this stream started it and it still runs."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._connection.open.discard(self)
        if self._call is not None:
            self._call.cancel()
        if self._session.needs_cancel:
            self._connection.cancel_abandoned(self.generation_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open_call(self, action: StartCall | ResumeCall) -> SyncStreamCall:
        if self._closed.wait(action.delay) if action.delay else self._closed.is_set():
            raise closed_while_reading()
        self._call = self._connection.stream(action, self._session.time_left(time.monotonic()))
        return self._call

    def _after_call(self, call: SyncStreamCall, failure: TokenStreamError | None) -> Action:
        if self._closed.is_set():
            raise closed_while_reading()
        if self._session.finished and failure is None:
            trailers = threading.Event()
            if call.add_callback(trailers.set):
                trailers.wait(TRAILERS_TIMEOUT)
        call.cancel()
        return self._session.call_ended(failure, time.monotonic())
