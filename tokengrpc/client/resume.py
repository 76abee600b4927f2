"""The resume state machine of a stream: which call comes next, and how the stream ends.

It does no I/O, and both clients share it. A client reports each event to a `Session` and performs the action
that the session returns. Times are in seconds on any monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import token_stream_pb2

from tokengrpc.client.actions import Action, Finish, Raise, ResumeCall, StartCall
from tokengrpc.client.assembler import Assembler
from tokengrpc.client.delays import Delays
from tokengrpc.client.errors import DeadlineExceededError, ServerFailedError, TokenStreamError
from tokengrpc.client.local_errors import (
    closed_while_reading,
    connection_lost,
    finish_missing,
    generation_lost,
    not_resumable,
)
from tokengrpc.client.policy import Step, next_step
from tokengrpc.client.status import from_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.client.cursor import Cursor
    from tokengrpc.client.plan import Plan
    from tokengrpc.client.policy import ResumePolicy


class Session:
    """State of one stream over all of its calls."""

    def __init__(self, plan: Plan, policy: ResumePolicy, *, random: Callable[[], float]) -> None:
        """`random` returns a number between 0 and 1."""
        self.assembler = Assembler(plan.cursor)
        self.generation_id = plan.cursor.generation_id
        self.error: TokenStreamError | None = None
        self.detached = False
        self._plan = plan
        self._delays = Delays(policy, random)
        self._request = plan.request
        self._called = False
        self._resuming = False
        self._ended = False

    @property
    def finished(self) -> bool:
        """Whether the `finished` event has arrived."""
        return self.assembler.finish is not None

    @property
    def needs_cancel(self) -> bool:
        """Whether the client must send CancelGeneration, because the generation may run without a reader."""
        may_cancel = self._plan.cancel_on_close if self._request is None else self._plan.resumable
        if not may_cancel or not self._called or self.finished or self._ended or self.detached:
            return False
        if isinstance(self.error, DeadlineExceededError):
            return not self.error.ended
        return self.error is None or self.error.reason in {"STREAM_GAP", "CHECKSUM_MISMATCH"}

    @property
    def _begun(self) -> bool:
        return self.assembler.sequence > self._plan.cursor.sequence

    def time_left(self, now: float) -> float | None:
        """Returns the seconds until the deadline, for the next call's timeout. None without a deadline."""
        return self._delays.time_left(now)

    def begin(self, now: float) -> Action:
        """Starts the timeout and returns the first call."""
        self._delays.begin(self._plan.timeout, now)
        return self._call(0.0)

    def detach(self) -> Cursor:
        """Leaves the generation to another reader: it is no longer cancelled. Returns the cursor.

        Raises InvalidRequestError (NOT_RESUMABLE) if the generation ends with the stream's connection.
        """
        if not self._plan.resumable:
            raise not_resumable()
        self.detached = True
        return self.assembler.cursor

    def stopped(self) -> Action:
        """Returns the last action of a stream that its caller, or somebody else, closed while it was read."""
        return Finish() if self.detached else Raise(closed_while_reading())

    def receive(self, message: token_stream_pb2.StreamTokensResponse) -> bool:
        """Adds a message and returns whether it is new and must be passed to the caller.

        After `detach`, no message is: it belongs to the next reader.

        Raises ServerFailedError if events or tokens are missing before this message, or if its output is not
        what the server sent before.
        """
        if self.detached:
            return False
        before = self.assembler.sequence
        try:
            new = self.assembler.add(message)
        except ServerFailedError as failure:
            self._add_context(failure)
            raise
        if self.assembler.sequence != before or message.HasField("heartbeat"):
            self._delays.renew_patience()
        return new

    def call_ended(self, failure: TokenStreamError | None, now: float) -> Action:
        """Returns the next action after a call has ended. `failure` is None if it ended with OK."""
        if self.finished:
            return self._outcome()
        step = next_step(
            failure,
            resuming=self._resuming,
            begun=self._begun,
            read_only=self._request is None,
        )
        if step is Step.END:
            self._ended = True
            return Finish()
        if step is Step.RETRY and failure is not None:
            return self._retry(failure, now)
        if step is Step.LOST and failure is not None:
            return self._lost(failure, now)
        if step is Step.RAISE and failure is not None:
            return self._raise(failure)
        allowed = self._plan.resumable or step is Step.REPEAT
        return self._reconnect(failure or finish_missing(), now, allowed=allowed)

    def _call(self, delay: float) -> Action:
        self._called = True
        self._resuming = self._request is None or self.assembler.sequence > 0
        if self._request is not None and not self._resuming:
            return StartCall(self._request, delay)
        cursor = self.assembler.cursor
        request = token_stream_pb2.ResumeTokensRequest(
            generation_id=cursor.generation_id,
            after_sequence=cursor.sequence,
            log_incarnation=cursor.log_incarnation,
            output_checksum=cursor.checksum,
        )
        return ResumeCall(request, delay)

    def _reconnect(self, failure: TokenStreamError, now: float, *, allowed: bool) -> Action:
        delay = self._delays.before_reconnection(failure, now) if allowed else None
        return self._raise(self._connection_error(failure)) if delay is None else self._call(delay)

    def _retry(self, failure: TokenStreamError, now: float) -> Action:
        delay = self._delays.before_retry(failure, now) if self._request is not None else None
        return self._raise(failure) if delay is None else self._call(delay)

    def _lost(self, failure: TokenStreamError, now: float) -> Action:
        """Starts the generation again if no output has arrived, else raises GenerationLostError.

        The server no longer knows the generation or its events, for example after a crash.
        """
        can_restart = failure.reason == "GENERATION_NOT_FOUND" and not self.assembler.has_output
        if can_restart and self._request is not None and self._delays.may_retry:
            self.assembler = Assembler(self._plan.cursor)
            return self._retry(failure, now)
        return self._raise(generation_lost(failure))

    def _outcome(self) -> Action:
        finish = self.assembler.finish
        if finish is None:
            raise AssertionError("_outcome() was called before the generation had ended")
        if finish.status.code != grpc.StatusCode.OK.value[0]:
            return self._raise(from_status(finish.status))
        return Finish()

    def _connection_error(self, failure: TokenStreamError) -> TokenStreamError:
        """Returns the error to raise when reconnecting ends: the server's own error if it has a reason."""
        unreachable = not self._begun and failure.code is grpc.StatusCode.UNAVAILABLE
        if failure.reason or unreachable:
            return failure
        return connection_lost(failure, resumable=self._begun and self._plan.resumable)

    def _raise(self, error: TokenStreamError) -> Action:
        self._add_context(error)
        return Raise(error)

    def _add_context(self, error: TokenStreamError) -> None:
        """Adds the client's state to an error. Its cursor counts, because the server's may be ahead."""
        self.error = error
        error.generation_id = error.generation_id or self.generation_id
        error.last_sequence = self.assembler.sequence
        error.cursor = str(self.assembler.cursor)
        if error.usage is None and self.assembler.sequence:
            error.usage = self.assembler.usage
        error.partial_text = self.assembler.text
