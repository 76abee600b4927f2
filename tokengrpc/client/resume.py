"""The resume state machine of a stream: which call comes next, when, and how the stream ends.

It does no I/O, and both clients share it. A client reports each event to a `Session` and performs the action
that the session returns. Times are in seconds on any monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import token_stream_pb2

from tokengrpc.client.actions import Action, Finish, Raise, ResumeCall, StartCall
from tokengrpc.client.assembler import Assembler
from tokengrpc.client.errors import DeadlineExceededError, ServerFailedError, TokenStreamError
from tokengrpc.client.local_errors import connection_lost, finish_missing, generation_lost
from tokengrpc.client.policy import Step, next_step
from tokengrpc.client.status import from_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.client.plan import Plan
    from tokengrpc.client.policy import ResumePolicy


class Session:
    """State of one stream over all of its calls."""

    def __init__(self, plan: Plan, policy: ResumePolicy, *, random: Callable[[], float]) -> None:
        """`random` returns a number between 0 and 1."""
        self.assembler = Assembler(plan.after)
        self.generation_id = plan.generation_id
        self.error: TokenStreamError | None = None
        self._plan = plan
        self._policy = policy
        self._random = random
        self._request = plan.request
        self._deadline: float | None = None
        self._attempts = 0
        self._retries = 0
        self._called = False
        self._resuming = False

    @property
    def finished(self) -> bool:
        """Whether the `finished` event has arrived."""
        return self.assembler.finish is not None

    @property
    def needs_cancel(self) -> bool:
        """Whether the client must send CancelGeneration, because the generation may run without a reader."""
        if self._request is None or not self._plan.resumable or not self._called or self.finished:
            return False
        if isinstance(self.error, DeadlineExceededError):
            return not self.error.ended
        return self.error is None or self.error.reason == "STREAM_GAP"

    @property
    def _begun(self) -> bool:
        return self.assembler.sequence > self._plan.after

    def time_left(self, now: float) -> float | None:
        """Returns the seconds until the deadline, for the next call's timeout. None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - now)

    def begin(self, now: float) -> Action:
        """Starts the timeout and returns the first call."""
        if self._plan.timeout is not None:
            self._deadline = now + self._plan.timeout
        return self._call(0.0)

    def receive(self, message: token_stream_pb2.StreamTokensResponse) -> bool:
        """Adds a message and returns whether it is new and must be passed to the caller.

        Raises ServerFailedError if events or tokens are missing before this message.
        """
        before = self.assembler.sequence
        try:
            new = self.assembler.add(message)
        except ServerFailedError as gap:
            self._add_context(gap)
            raise
        if self.assembler.sequence != before:
            self._attempts = 0
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
            return Finish()
        if step is Step.RETRY and failure is not None:
            return self._retry(failure, now)
        if step is Step.LOST and failure is not None:
            return self._lost(failure, now)
        if step is Step.RAISE and failure is not None:
            return self._raise(failure)
        return self._reconnect(failure, now)

    def _call(self, delay: float) -> Action:
        self._called = True
        self._resuming = self._request is None or self.assembler.sequence > 0
        if self._request is not None and not self._resuming:
            return StartCall(self._request, delay)
        request = token_stream_pb2.ResumeTokensRequest(
            generation_id=self.generation_id, after_sequence=self.assembler.sequence
        )
        return ResumeCall(request, delay)

    def _reconnect(self, failure: TokenStreamError | None, now: float) -> Action:
        error = failure or finish_missing()
        delay = self._delay(self._attempts, self._policy.attempts, error, now)
        if not self._plan.resumable or delay is None:
            return self._raise(self._connection_error(error))
        self._attempts += 1
        return self._call(delay)

    def _retry(self, failure: TokenStreamError, now: float) -> Action:
        delay = self._delay(self._retries, self._policy.retry_attempts, failure, now)
        if self._request is None or delay is None:
            return self._raise(failure)
        self._retries += 1
        return self._call(delay)

    def _delay(self, used: int, limit: int, failure: TokenStreamError, now: float) -> float | None:
        """Returns the delay in seconds before another attempt, or None if no further attempt is allowed.

        No attempt is allowed if all are used, if the server requests too long a delay, or if the delay would
        not end before the deadline.
        """
        if used >= limit or self._policy.exceeds_max_delay(failure):
            return None
        delay = self._policy.backoff(used, self._random()) + max(0.0, failure.retry_delay or 0.0)
        left = self.time_left(now)
        return delay if left is None or delay < left else None

    def _lost(self, failure: TokenStreamError, now: float) -> Action:
        """Starts the generation again if no output has arrived, else raises GenerationLostError.

        The server no longer knows the generation or its events, for example after a crash.
        """
        can_restart = failure.reason == "GENERATION_NOT_FOUND" and not self.assembler.has_output
        if can_restart and self._request is not None and self._retries < self._policy.retry_attempts:
            self.assembler = Assembler()
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
        return connection_lost(failure, self._attempts, resumable=self._begun and self._plan.resumable)

    def _raise(self, error: TokenStreamError) -> Action:
        self._add_context(error)
        return Raise(error)

    def _add_context(self, error: TokenStreamError) -> None:
        """Adds the client's state to an error. Its cursor counts, because the server's may be ahead."""
        self.error = error
        error.generation_id = error.generation_id or self.generation_id
        error.last_sequence = self.assembler.sequence
        if error.usage is None and self.assembler.sequence:
            error.usage = self.assembler.usage
        error.partial_text = self.assembler.text
