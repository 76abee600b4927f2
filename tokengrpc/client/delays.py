"""Delays of a stream's further calls: within its deadline, its patience and its number of retries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokengrpc.client.policy import TRY_ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.client.errors import TokenStreamError
    from tokengrpc.client.policy import ResumePolicy

# Seconds of patience of a stream that has neither a deadline nor a patience of its own.
DEFAULT_PATIENCE: Final = 60.0


class Delays:
    """Clockless: each method takes the time, in seconds on any monotonic clock. Delays are in seconds."""

    def __init__(self, policy: ResumePolicy, random: Callable[[], float]) -> None:
        """`random` returns a number between 0 and 1."""
        self._policy = policy
        self._random = random
        self._deadline: float | None = None
        self._first_failure: float | None = None
        self._reconnections = 0
        self._tried_elsewhere = False
        self._retries = 0

    def begin(self, timeout: float | None, now: float) -> None:
        """Starts the caller's timeout, if there is one."""
        if timeout is not None:
            self._deadline = now + timeout

    def time_left(self, now: float) -> float | None:
        """Returns the seconds until the deadline. None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - now)

    def renew_patience(self) -> None:
        """Ends the row of failures, because a call has delivered."""
        self._first_failure = None
        self._reconnections = 0
        self._tried_elsewhere = False

    def before_reconnection(self, failure: TokenStreamError, now: float) -> float | None:
        """Returns the delay before the next reconnection. None if patience would end before it."""
        if self._first_failure is None:
            self._first_failure = now
        end = self._end_of_patience(self._first_failure)
        if failure.reason in TRY_ELSEWHERE and not self._tried_elsewhere:
            self._tried_elsewhere = True
            return self._within(0.0, failure, now, end)
        delay = self._delay(self._reconnections, failure, now, end)
        self._reconnections += 1
        return delay

    @property
    def may_retry(self) -> bool:
        """Whether another start is allowed."""
        return self._retries < self._policy.retry_attempts

    def before_retry(self, failure: TokenStreamError, now: float) -> float | None:
        """Returns the delay before the next start. None if none is allowed, or the deadline would pass."""
        if not self.may_retry:
            return None
        delay = self._delay(self._retries, failure, now, self._deadline)
        self._retries += 1
        return delay

    def _delay(self, used: int, failure: TokenStreamError, now: float, end: float | None) -> float | None:
        delay = self._policy.backoff(used, self._random()) + max(0.0, failure.retry_delay or 0.0)
        return self._within(delay, failure, now, end)

    def _within(self, delay: float, failure: TokenStreamError, now: float, end: float | None) -> float | None:
        if self._policy.exceeds_max_delay(failure):
            return None
        return delay if end is None or now + delay < end else None

    def _end_of_patience(self, first_failure: float) -> float:
        patience = self._policy.patience
        if self._deadline is not None:
            return self._deadline if patience is None else min(self._deadline, first_failure + patience)
        return first_failure + (DEFAULT_PATIENCE if patience is None else patience)
