"""An engine of a model, with its slots, outstanding work and circuit breaker. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tokengrpc.core.breaker import AttemptOutcome, CircuitBreaker
from tokengrpc.core.engine_key import CallerKeys
from tokengrpc.core.inter_token_latency import InterTokenLatency
from tokengrpc.core.load_signal import LoadSignal
from tokengrpc.core.place import Place
from tokengrpc.errors import EngineStalled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.ports.engine import Engine
    from tokengrpc.errors import TokenGrpcError

_REFRESH = 0.1
# The intervals of health checks vary by a quarter. Traffic within the shortest interval replaces a check.
_QUIET = 0.75


class EngineFailure(NamedTuple):
    """Last failure of an engine: the reason of the error, and its text for logs. Empty if unknown."""

    reason: str = ""
    text: str = ""


class PooledEngine:
    """Engine of a model, with its attempts and circuit breaker.

    `max_connections` is the number of its `slots`; 0 means no limit.

    An engine is silent if it has sent no output for `silence_limit` seconds although it is being called. The
    circuit breaker does not notice that where callers leave before a timeout of the server passes. A health
    check is no output. Without calls for as long, an engine is not silent any more: nothing is known.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        weight: float = 1.0,
        priority: int = 0,
        max_connections: int = 0,
        check_interval: float = 0.0,
        silence_limit: float = 0.0,
        gets_trace: bool = True,
        caller_keys: CallerKeys = CallerKeys.NEVER,
    ) -> None:
        self.engine = engine
        self.gets_trace = gets_trace
        self.caller_keys = caller_keys
        self.priority = priority
        self.check_interval = check_interval
        self.breaker = CircuitBreaker()
        self.inter_token_latency = InterTokenLatency()
        self.last_failure = EngineFailure()
        self.last_used = 0.0
        self.progress_ns = 0
        """Time of the last output or other answer, in nanoseconds since the Unix epoch."""
        self._asked_since = 0.0
        self._silence_limit = silence_limit
        self.weight = weight
        self.slots = max_connections
        self._slots: dict[Slot, None] = {}
        self._last_succeeded: bool | None = None
        self._load = 0.0
        self._load_until = 0.0
        self._signal = LoadSignal(engine)

    @property
    def running(self) -> int:
        """Number of attempts that run on the engine."""
        return len(self._slots)

    @property
    def failed(self) -> bool:
        """Whether the last attempt or health check failed."""
        return self._last_succeeded is False

    @property
    def has_free_slot(self) -> bool:
        """Whether the engine has capacity for another attempt."""
        return not self.slots or len(self._slots) < self.slots

    @property
    def healthy(self) -> bool | None:
        """Whether the last attempt or health check succeeded; None before the first one."""
        return self.engine.healthy if self._last_succeeded is None else self._last_succeeded

    def outstanding(self, now: float) -> float:
        """Returns the outstanding tokens, divided by the engine's weight.

        They are those of all attempts, and of requests of others that the engine reports.
        """
        # Recomputed at most ten times a second, because an engine may run thousands of attempts.
        if now >= self._load_until:
            self._load = sum(slot.outstanding for slot in self._slots)
            self._load += self._signal.tokens(now, len(self._slots))
            self._load_until = now + _REFRESH
        return self._load / self.weight

    def note_output(self, now_ns: int, before_ns: int) -> None:
        """Takes the time of a read with output, and that of the read with output before it."""
        self.inter_token_latency.add(now_ns - before_ns)
        self.progress_ns = now_ns

    def silent_seconds(self, now: float) -> float:
        """Returns for how long the engine has sent no output although it is being called; 0 if it is not."""
        answered = self.progress_ns / 1e9
        if not self._slots and (answered >= self._asked_since or self._is_idle(now)):
            return 0.0
        return max(0.0, now - max(answered, self._asked_since))

    def is_silent(self, now: float) -> bool:
        """Returns whether the engine is silent. Any thread may call this."""
        return bool(self._silence_limit) and self.silent_seconds(now) >= self._silence_limit

    def _is_idle(self, now: float) -> bool:
        return now - self.last_used >= self._silence_limit

    def needs_check(self, now: float) -> bool:
        """Returns whether the engine needs a health check: its breaker is open, or it had no traffic lately.

        Never while it generates: what becomes of that says more, and some servers interrupt it for a check.
        """
        if self._slots:
            return False
        return not self.breaker.closed or now - self.last_used >= self.check_interval * _QUIET

    def checked(
        self, now: float, *, succeeded: bool, began: float, failure: EngineFailure | None = None
    ) -> None:
        """Takes the result of a health check. A failure says nothing if there was traffic since `began`."""
        if not succeeded and (self._slots or self.last_used >= began):
            return
        self._last_succeeded = succeeded
        if succeeded:
            self.breaker.probe_succeeded(now)
        else:
            self.last_failure = failure or EngineFailure()
            self.breaker.failed(now, trial=False)

    def take(self, slot: Slot, now: float) -> None:
        """Adds the slot of an attempt that begins."""
        if not self._slots and (self.progress_ns / 1e9 >= self._asked_since or self._is_idle(now)):
            self._asked_since = now
        self._slots[slot] = None
        self._load += slot.outstanding
        self.last_used = now

    def remove_slot(
        self,
        slot: Slot,
        outcome: AttemptOutcome,
        wait: float,
        now: float,
        error: TokenGrpcError | None = None,
    ) -> None:
        """Removes the slot of an attempt that has ended with `error`, if any.

        `wait` is the backoff that the engine asked for.
        """
        if outcome is AttemptOutcome.FAILURE:
            self.last_failure = EngineFailure() if error is None else failure_of(error)
        del self._slots[slot]
        self._load_until = 0.0
        self.last_used = now
        self.breaker.record(outcome, now, trial=slot.trial, wait=wait)
        cancelled = error is None and outcome is AttemptOutcome.NEUTRAL
        if not cancelled and not isinstance(error, EngineStalled):
            self.progress_ns = max(self.progress_ns, round(now * 1e9))  # it has answered
        if outcome is not AttemptOutcome.NEUTRAL:
            self._last_succeeded = outcome is not AttemptOutcome.FAILURE


def failure_of(error: TokenGrpcError) -> EngineFailure:
    """Returns what to keep of an error: the error itself refers to too much."""
    return EngineFailure(error.reason.value, error.log_text)


@dataclass(slots=True, kw_only=True, eq=False)
class SlotRequest:
    """Request for a slot. `progress` returns the number of tokens that have been generated for it."""

    capable: Sequence[PooledEngine]
    input_tokens: int
    most_output: int | None
    progress: Callable[[], int]
    session: bytes = b""
    """Key of the session (`session_key`); empty: none."""
    place: Place = field(default_factory=Place)
    left: list[PooledEngine] = field(init=False)
    """Engines that may run the next attempt."""
    retries: bool = field(init=False, default=False)
    _last: PooledEngine | None = field(init=False, default=None)
    _incapable: set[PooledEngine] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Makes all capable engines candidates for the first attempt."""
        self.left = list(self.capable)

    def failed(self, pooled: PooledEngine, *, permanent: bool) -> None:
        """Excludes an engine after a failed attempt; `permanent` if a retry on it would fail as well."""
        self.retries = True
        if permanent:
            self._incapable.add(pooled)
        self.left = [other for other in self.left if other is not pooled]
        self._last = pooled

    def can_try_again(self, now: float) -> bool:
        """Returns whether another attempt may succeed.

        If all engines have been tried, those that failed before the last one may be retried, because a lost
        engine may have recovered. Engines with a permanent failure, or that are backing off, are not retried.
        """
        if not self.left:
            again = (m for m in self.capable if m is not self._last and m not in self._incapable)
            self.left = [pooled for pooled in again if not pooled.breaker.backing_off_at(now)]
        return bool(self.left)


class Slot:
    """Capacity of an engine for one attempt."""

    def __init__(self, request: SlotRequest, pooled: PooledEngine, expected: float) -> None:
        self.pooled = pooled
        self.request = request
        self.trial = pooled.breaker.begin()
        self._expected = expected
        self._done_before = request.progress()
        self.waited = False
        """Whether the request waited for the slot."""

    @property
    def output(self) -> int:
        """Output tokens of this attempt so far."""
        return self.request.progress() - self._done_before

    @property
    def outstanding(self) -> float:
        """Input tokens and output tokens that are still expected."""
        return self.request.input_tokens + max(self._expected - self.request.progress(), 0.0)

    def output_started(self) -> None:
        """Notes that the engine has sent output: if this is a trial, it has succeeded."""
        if self.trial:
            self.pooled.breaker.succeeded(trial=True)
            self.trial = False
