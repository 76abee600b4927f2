"""How a stream lives on: which call comes next, when, and what its reader finally sees.

It does no I/O. A client tells a Session what happened and does the Action that it answers; both clients share
it. Times are seconds on any monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import token_stream_pb2

from tokengrpc.client.actions import Action, Finish, Raise, ResumeCall, StartCall
from tokengrpc.client.assembler import Assembler
from tokengrpc.client.endings import connection_lost, cut_short, generation_lost
from tokengrpc.client.errors import DeadlineExceededError, ServerFailedError, TokenStreamError
from tokengrpc.client.policy import Step, next_step
from tokengrpc.client.status import from_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.client.plan import Plan
    from tokengrpc.client.policy import ResumePolicy


class Session:
    """One stream's life over however many calls it takes."""

    def __init__(self, plan: Plan, policy: ResumePolicy, *, random: Callable[[], float]) -> None:
        """`random` draws from 0 to 1."""
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
        """Whether the generation's end is known."""
        return self.assembler.finish is not None

    @property
    def abandoned(self) -> bool:
        """Whether the generation may go on though nobody will come back: CancelGeneration is due."""
        if self._request is None or not self._plan.resumable or not self._called or self.finished:
            return False
        if isinstance(self.error, DeadlineExceededError):
            return not self.error.ended
        return self.error is None or self.error.reason == "STREAM_GAP"

    @property
    def _begun(self) -> bool:
        return self.assembler.sequence > self._plan.after

    def time_left(self, now: float) -> float | None:
        """Seconds until the deadline: the timeout of the next call. None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - now)

    def begin(self, now: float) -> Action:
        """The first call, from which the timeout runs."""
        if self._plan.timeout is not None:
            self._deadline = now + self._plan.timeout
        return self._call(0.0)

    def received(self, message: token_stream_pb2.StreamTokensResponse) -> bool:
        """Takes a message; whether it holds anything new for the reader, who then gets what is left of it.

        Raises ServerFailedError when events are missing before it.
        """
        before = self.assembler.sequence
        try:
            new = self.assembler.add(message)
        except ServerFailedError as gap:
            self._complete(gap)
            raise
        if self.assembler.sequence != before:
            self._attempts = 0
        return new

    def call_ended(self, failure: TokenStreamError | None, now: float) -> Action:
        """What follows a call that has ended, with OK when `failure` is None."""
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
        error = failure or cut_short()
        delay = self._wait(self._attempts, self._policy.attempts, error, now)
        if not self._plan.resumable or delay is None:
            return self._raise(self._broken(error))
        self._attempts += 1
        return self._call(delay)

    def _retry(self, failure: TokenStreamError, now: float) -> Action:
        delay = self._wait(self._retries, self._policy.retry_attempts, failure, now)
        if self._request is None or delay is None:
            return self._raise(failure)
        self._retries += 1
        return self._call(delay)

    def _wait(self, done: int, most: int, failure: TokenStreamError, now: float) -> float | None:
        """Seconds before another attempt; None when there is none: too many, too long a wait, no time."""
        if done >= most or self._policy.too_long(failure):
            return None
        delay = self._policy.backoff(done, self._random()) + max(0.0, failure.retry_delay or 0.0)
        left = self.time_left(now)
        return delay if left is None or delay < left else None

    def _lost(self, failure: TokenStreamError, now: float) -> Action:
        """Starts anew when no output had come: the server has forgotten the generation, as after a crash."""
        forgotten = failure.reason == "GENERATION_NOT_FOUND" and not self.assembler.has_output
        if forgotten and self._request is not None and self._retries < self._policy.retry_attempts:
            self.assembler = Assembler()
            return self._retry(failure, now)
        return self._raise(generation_lost(failure))

    def _outcome(self) -> Action:
        finish = self.assembler.finish
        if finish is None:
            raise AssertionError("asked for the outcome of a generation that has not ended")
        if finish.status.code != grpc.StatusCode.OK.value[0]:
            return self._raise(from_status(finish.status))
        return Finish()

    def _broken(self, failure: TokenStreamError) -> TokenStreamError:
        """The error of a connection that is given up: the server's own where it gave a reason."""
        unreachable = not self._begun and failure.code is grpc.StatusCode.UNAVAILABLE
        if failure.reason or unreachable:
            return failure
        return connection_lost(failure, self._attempts, resumable=self._begun and self._plan.resumable)

    def _raise(self, error: TokenStreamError) -> Action:
        self._complete(error)
        return Raise(error)

    def _complete(self, error: TokenStreamError) -> None:
        """Adds what this side knows. The cursor is the reader's: the server may be ahead of it."""
        self.error = error
        error.generation_id = error.generation_id or self.generation_id
        error.last_sequence = self.assembler.sequence
        if error.usage is None and self.assembler.sequence:
            error.usage = self.assembler.usage
        error.partial_text = self.assembler.text
