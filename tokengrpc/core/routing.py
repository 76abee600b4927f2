"""Choice of the engine that runs a request, and the wait queue of a model. No I/O; times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tokengrpc.core.affinity import score
from tokengrpc.core.breaker import AttemptOutcome, CircuitBreaker
from tokengrpc.core.load_signal import LoadSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tokengrpc.core.ports.engine import Engine

_FIRST_GUESS = 256.0
_LEARNING = 0.1
_REFRESH = 0.1
# With many requests, loads differ by more than a fixed number of tokens.
_SESSION_LOAD_FACTOR = 1.25
# The intervals of health checks vary by a quarter. Traffic within the shortest interval replaces a check.
_QUIET = 0.75


class PooledEngine:
    """Engine of a model, with its attempts and circuit breaker. `max_connections` 0 means no limit."""

    def __init__(
        self,
        engine: Engine,
        *,
        weight: float = 1.0,
        priority: int = 0,
        max_connections: int = 0,
        check_interval: float = 0.0,
    ) -> None:
        self.engine = engine
        self.priority = priority
        self.check_interval = check_interval
        self.breaker = CircuitBreaker()
        self.last_used = 0.0
        self.weight = weight
        self._max = max_connections
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
        return not self._max or len(self._slots) < self._max

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

    def needs_check(self, now: float) -> bool:
        """Returns whether the engine needs a health check: its breaker is open, or it had no traffic lately.

        Never while it generates: what becomes of that says more, and some servers interrupt it for a check.
        """
        if self._slots:
            return False
        return not self.breaker.closed or now - self.last_used >= self.check_interval * _QUIET

    def checked(self, now: float, *, succeeded: bool, began: float) -> None:
        """Takes the result of a health check. A failure says nothing if there was traffic since `began`."""
        if not succeeded and (self._slots or self.last_used >= began):
            return
        self._last_succeeded = succeeded
        if succeeded:
            self.breaker.probe_succeeded(now)
        else:
            self.breaker.failed(now, trial=False)

    def take(self, slot: Slot, now: float) -> None:
        """Adds the slot of an attempt that begins."""
        self._slots[slot] = None
        self._load += slot.outstanding
        self.last_used = now

    def remove_slot(self, slot: Slot, outcome: AttemptOutcome, wait: float, now: float) -> None:
        """Removes the slot of an attempt that has ended; `wait` is the backoff that the engine asked for."""
        del self._slots[slot]
        self._load_until = 0.0
        self.last_used = now
        self.breaker.record(outcome, now, trial=slot.trial, wait=wait)
        if outcome is not AttemptOutcome.NEUTRAL:
            self._last_succeeded = outcome is not AttemptOutcome.FAILURE


@dataclass(slots=True, kw_only=True, eq=False)
class SlotRequest:
    """Request for a slot. `progress` returns the number of tokens that have been generated for it."""

    capable: Sequence[PooledEngine]
    input_tokens: int
    most_output: int | None
    progress: Callable[[], int]
    session: bytes = b""
    """Key of the session (`session_key`); empty: none."""
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

    @property
    def outstanding(self) -> float:
        """Input tokens and output tokens that are still expected."""
        return self.request.input_tokens + max(self._expected - self.request.progress(), 0.0)

    def output_started(self) -> None:
        """Notes that the engine has sent output: if this is a trial, it has succeeded."""
        if self.trial:
            self.pooled.breaker.succeeded(trial=True)
            self.trial = False


class EnginePool:
    """Engines of a model.

    A request runs on the engine with the fewest outstanding tokens in proportion to its weight, among the
    available engines with free slots and the lowest priority value. An engine is available if its circuit
    breaker allows a request. If every available engine is at capacity, the request is queued. If no engine is
    available, the request goes to the one that will recover first, because rejecting it would guarantee a
    failure.

    A request of a session runs on the session's own engine instead, if that is one of these candidates and
    its outstanding tokens exceed 1.25 times those of the least loaded one by at most `session_load_bound`.
    Otherwise the session's next engine takes the request. A bound of 0 ignores sessions.
    """

    def __init__(self, engines: Sequence[PooledEngine], *, session_load_bound: int = 0) -> None:
        self.engines = tuple(engines)
        self._session_load_bound = session_load_bound
        self._wait_queue: dict[SlotRequest, Callable[[Slot], None]] = {}
        self._typical_output = _FIRST_GUESS
        self._serving = False
        self.on_breaker_change: Callable[[str, bool], None] | None = None
        """Called with an engine's name and whether its circuit breaker is open, whenever that changes."""
        for pooled in self.engines:
            pooled.breaker.on_change = partial(self._breaker_changed, pooled.engine.name)
        self._wakeup_at = 0.0

    @property
    def waiting(self) -> int:
        """Number of queued requests."""
        return len(self._wait_queue)

    def acquire(self, slot_request: SlotRequest, now: float) -> Slot | None:
        """Returns a slot for a request that has engines left; None if the request must be queued."""
        self.serve_waiters(now)
        pooled = self._choose(slot_request, now)
        return None if pooled is None else self._take(slot_request, pooled, now)

    def wait(self, slot_request: SlotRequest, granted: Callable[[Slot], None]) -> None:
        """Queues a request; `granted` is called with its slot."""
        self._wait_queue[slot_request] = granted

    def leave(self, slot_request: SlotRequest) -> None:
        """Removes a request from the wait queue."""
        self._wait_queue.pop(slot_request, None)

    def release(self, slot: Slot, outcome: AttemptOutcome, now: float, *, wait: float = 0.0) -> None:
        """Releases the slot of an attempt that has ended, and serves queued requests.

        `wait` is the backoff that the engine asked for, in seconds.
        """
        slot.pooled.remove_slot(slot, outcome, wait, now)
        if outcome is AttemptOutcome.SUCCESS:
            self._typical_output += _LEARNING * (slot.request.progress() - self._typical_output)
        self.serve_waiters(now)

    def output_started(self, slot: Slot, now: float) -> None:
        """Notes that an engine has sent output. If this was a trial, serves queued requests."""
        if slot.trial:
            slot.output_started()
            self.serve_waiters(now)

    def next_wakeup(self, now: float) -> float | None:
        """Returns the seconds until an engine becomes available to queued requests and `wake` must be called.

        Returns None if no engine is unavailable, or if an earlier call returned the same time.
        """
        backing_off = [m.breaker.allowed_from for m in self.engines if m.breaker.allowed_from > now]
        if not self._wait_queue or not backing_off or now < self._wakeup_at <= min(backing_off):
            return None
        self._wakeup_at = min(backing_off)
        return self._wakeup_at - now

    def wake(self, now: float) -> None:
        """Serves queued requests; called when the time that `next_wakeup` returned has passed."""
        self._wakeup_at = 0.0
        self.serve_waiters(now)

    def serve_waiters(self, now: float) -> None:
        """Gives free slots to queued requests, in order of arrival."""
        # A request may release its slot at once, if its caller has left. That calls this function again, and
        # the loop that is running serves the next request.
        if self._serving:
            return
        self._serving = True
        try:
            for slot_request, granted in list(self._wait_queue.items()):
                if not any(pooled.has_free_slot for pooled in self.engines):
                    return
                pooled = self._choose(slot_request, now)
                if pooled is not None:
                    del self._wait_queue[slot_request]
                    granted(self._take(slot_request, pooled, now))
        finally:
            self._serving = False

    def _choose(self, slot_request: SlotRequest, now: float) -> PooledEngine | None:
        left = slot_request.left
        if len(left) == 1:
            return left[0] if left[0].has_free_slot else None
        admitted = [pooled for pooled in left if pooled.breaker.allows(now)]
        free = [pooled for pooled in admitted if pooled.has_free_slot]
        if free:
            # After a failure, engines whose last attempt succeeded come first.
            ranks = {pooled: (slot_request.retries and pooled.failed, pooled.priority) for pooled in free}
            first = min(ranks.values())
            return self._choose_equal([m for m in free if ranks[m] == first], slot_request.session, now)
        if admitted:
            return None
        free = [pooled for pooled in left if pooled.has_free_slot]
        return min(free, key=lambda m: (m.breaker.allowed_from, m.priority), default=None)

    def _choose_equal(self, candidates: list[PooledEngine], session: bytes, now: float) -> PooledEngine:
        """Chooses among engines of the same rank: by session, otherwise by load."""
        best = _best(candidates, now)
        if not session or not self._session_load_bound or len(candidates) == 1:
            return best
        most = best.outstanding(now) * _SESSION_LOAD_FACTOR + self._session_load_bound
        bounded = (m for m in by_preference(candidates, session) if m.outstanding(now) <= most)
        return next(bounded, best)

    def _breaker_changed(self, engine: str, is_open: bool) -> None:
        if self.on_breaker_change is not None:
            self.on_breaker_change(engine, is_open)

    def _take(self, slot_request: SlotRequest, pooled: PooledEngine, now: float) -> Slot:
        most = slot_request.most_output
        expected = self._typical_output if most is None else min(self._typical_output, most)
        slot = Slot(slot_request, pooled, expected)
        pooled.take(slot, now)
        return slot


def _best(engines: Sequence[PooledEngine], now: float) -> PooledEngine:
    """Returns the least loaded engine. Of equal ones, the one that has been idle for longest."""
    return min(engines, key=lambda m: (m.outstanding(now), m.last_used))


def by_preference(engines: Iterable[PooledEngine], session: bytes) -> list[PooledEngine]:
    """Returns engines in the order of a session, its own first."""
    return sorted(engines, key=lambda m: score(m.engine.name, m.weight, session), reverse=True)
