"""How a stream lives on: which call comes next, when, and what its reader finally sees.

It does no I/O. A client tells a Session what happened and does the Action that it answers; both clients share
it. Times are seconds on any monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import generation_pb2, token_stream_pb2

from tokengrpc.client.actions import Action, AskOutcome, Finish, Raise, ResumeCall, StartCall
from tokengrpc.client.assembler import Assembler
from tokengrpc.client.endings import (
    connection_lost,
    cut_short,
    generation_lost,
    time_limit_error,
    too_late,
)
from tokengrpc.client.errors import DeadlineExceededError, ServerFailedError, TokenStreamError, from_status
from tokengrpc.client.policy import Step, next_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.client.plan import Plan
    from tokengrpc.client.policy import ResumePolicy


class Session:
    """One stream's life over however many calls it takes."""

    def __init__(
        self,
        plan: Plan,
        policy: ResumePolicy,
        *,
        random: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        """`random` draws from 0 to 1, `new_id` makes ids of generations."""
        self.assembler = Assembler(plan.after)
        self.generation_id = plan.generation_id
        self.error: TokenStreamError | None = None
        self._plan = plan
        self._policy = policy
        self._random = random
        self._new_id = new_id
        self._request = plan.request
        self._deadline: float | None = None
        self._attempts = 0
        self._retries = 0
        self._called = False
        # A call broke, and what became of it is not known: the generation may run. Its id is kept from then
        # on, because repeating StreamTokens attaches to it.
        self._unsure = False
        self._resuming = False
        self._cursor_at_call = plan.after

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
            self.generation_id = self.generation_id or message.started.generation_id
        return new

    def call_ended(self, failure: TokenStreamError | None, now: float) -> Action:
        """What follows a call that has ended, with OK when `failure` is None."""
        if self.finished:
            return self._outcome()
        step = next_step(
            failure,
            resuming=self._resuming,
            begun=self.assembler.sequence > self._plan.after,
            brought=self.assembler.sequence > self._cursor_at_call,
        )
        if step is Step.ASK:
            return AskOutcome(token_stream_pb2.GetGenerationRequest(generation_id=self.generation_id))
        if step is Step.RETRY and failure is not None:
            return self._retry(failure, now)
        if step is Step.LOST and failure is not None:
            return self._lost(failure, now)
        if step is Step.RAISE and failure is not None:
            return self._raise(failure)
        return self._reconnect(failure, now)

    def outcome_told(self, generation: generation_pb2.Generation, now: float) -> Action:
        """What follows the answer to AskOutcome."""
        if generation.HasField("finished") and generation.last_sequence <= self.assembler.sequence:
            self.assembler.usage = generation.usage
            self.assembler.end(generation.finished)
            return self._outcome()
        return self._reconnect(None, now)

    def _call(self, delay: float) -> Action:
        self._called = True
        self._cursor_at_call = self.assembler.sequence
        self._resuming = self._request is None or self.assembler.sequence > 0
        if self._request is not None and not self._resuming:
            return StartCall(self._request, delay)
        request = token_stream_pb2.ResumeTokensRequest(
            generation_id=self.generation_id, after_sequence=self.assembler.sequence
        )
        return ResumeCall(request, delay)

    def _reconnect(self, failure: TokenStreamError | None, now: float) -> Action:
        error = failure or cut_short()
        patient = self._attempts < self._policy.attempts and not self._policy.too_long(error)
        if not self._plan.resumable or not patient:
            return self._raise(self._broken(error))
        delay = self._policy.backoff(self._attempts, self._random()) + _asked(error)
        left = self.time_left(now)
        if left is not None and delay >= left:
            return self._raise(too_late(error))
        self._attempts += 1
        self._unsure = True
        return self._call(delay)

    def _retry(self, failure: TokenStreamError, now: float) -> Action:
        delay = self._policy.backoff(self._retries, self._random()) + _asked(failure)
        left = self.time_left(now)
        late = self._policy.too_long(failure) or (left is not None and delay >= left)
        if self._request is None or self._retries >= self._policy.retry_attempts or late:
            return self._raise(failure)
        self._retries += 1
        if self._plan.own_id and not self._unsure:
            self._request = _renamed(self._request, self._new_id())
            self.generation_id = self._request.generation_id
        return self._call(delay)

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
        late = time_limit_error(self._plan, finish)
        return Finish() if late is None else self._raise(late)

    def _broken(self, failure: TokenStreamError) -> TokenStreamError:
        """The error of a connection that is given up: the server's own where it gave a reason."""
        begun = self.assembler.sequence > self._plan.after
        unreachable = not begun and failure.code is grpc.StatusCode.UNAVAILABLE
        if failure.reason or unreachable:
            return failure
        return connection_lost(failure, self._attempts, resumable=begun and self._plan.resumable)

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


def _asked(failure: TokenStreamError) -> float:
    """Seconds that the server asks to wait; a negative wish is none."""
    return max(0.0, failure.retry_delay or 0.0)


def _renamed(
    request: token_stream_pb2.StreamTokensRequest, generation_id: str
) -> token_stream_pb2.StreamTokensRequest:
    renamed = token_stream_pb2.StreamTokensRequest()
    renamed.CopyFrom(request)
    renamed.generation_id = generation_id
    return renamed
