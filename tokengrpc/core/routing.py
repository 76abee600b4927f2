"""Choice of the engine that runs a request. No I/O; times are in seconds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tokengrpc.core.affinity import score
from tokengrpc.core.breaker import AttemptOutcome
from tokengrpc.core.pooled_engine import Slot
from tokengrpc.core.wait_queue import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tokengrpc.core.pooled_engine import PooledEngine, SlotRequest
    from tokengrpc.core.tenant import Priority
    from tokengrpc.errors import TokenGrpcError

_FIRST_GUESS = 256.0
_LEARNING = 0.1
# With many requests, loads differ by more than a fixed number of tokens.
_SESSION_LOAD_FACTOR = 1.25


class EnginePool:
    """Engines of a model.

    A request runs on the engine with the fewest outstanding tokens in proportion to its weight, among the
    available engines with free slots and the lowest priority value. An engine is available if its circuit
    breaker allows a request. If every available engine is at capacity, the request is queued (`WaitQueue`).
    If no engine is available, the request goes to the one that will recover first, because rejecting it would
    guarantee a failure.

    A request of a session runs on the session's own engine instead, if that is one of these candidates and
    its outstanding tokens exceed 1.25 times those of the least loaded one by at most `session_load_bound`.
    Otherwise the session's next engine takes the request. A bound of 0 ignores sessions.
    """

    def __init__(
        self,
        engines: Sequence[PooledEngine],
        *,
        session_load_bound: int = 0,
        wait_queue: WaitQueue | None = None,
    ) -> None:
        """`wait_queue` is the pool's own; by default one without limits."""
        self.engines = tuple(engines)
        self._session_load_bound = session_load_bound
        self._wait_queue = WaitQueue() if wait_queue is None else wait_queue
        self._typical_output = _FIRST_GUESS
        self._serving = False
        self.on_breaker_change: Callable[[PooledEngine, bool], None] | None = None
        """Called with an engine and whether its circuit breaker is open, whenever that changes."""
        for pooled in self.engines:
            pooled.breaker.on_change = partial(self._breaker_changed, pooled)
        self._wakeup_at = 0.0
        self._served_at = 0.0

    @property
    def waiting(self) -> int:
        """Number of queued requests."""
        return len(self._wait_queue)

    @property
    def waiting_by_priority(self) -> Mapping[Priority, int]:
        """Number of queued requests of each priority."""
        return self._wait_queue.lengths

    @property
    def running(self) -> int:
        """Number of attempts that run on the engines."""
        return sum(pooled.running for pooled in self.engines)

    @property
    def slots(self) -> int:
        """Number of attempts that may run on the engines; 0 if one of them has no limit."""
        return 0 if any(not pooled.slots for pooled in self.engines) else sum(p.slots for p in self.engines)

    def acquire(self, slot_request: SlotRequest, now: float) -> Slot | None:
        """Returns a slot for a request that has engines left; None if the request must be queued."""
        self._wait_queue.number(slot_request.place)
        self.serve_waiters(now)
        pooled = self._choose(slot_request, now)
        return None if pooled is None else self._take(slot_request, pooled, now)

    def wait(
        self,
        slot_request: SlotRequest,
        granted: Callable[[Slot], None],
        displaced: Callable[[], None] = lambda: None,
    ) -> bool:
        """Queues a request. Returns False if the queue is full.

        `granted` is called with its slot, or `displaced` if another request takes its place in the queue.
        """
        return self._wait_queue.add(slot_request, granted, displaced)

    def leave(self, slot_request: SlotRequest) -> None:
        """Removes a request from the wait queue."""
        self._wait_queue.remove(slot_request)

    def queue_position(self, slot_request: SlotRequest, now: float) -> int:
        """Returns the position of a request in the wait queue, from 1; 0 if it is not queued."""
        return self._wait_queue.position(slot_request, self._expected_tokens, now)

    def retry_delay(self, now: float) -> float:
        """Returns the delay, in seconds, for a caller that the wait queue rejects."""
        return self._wait_queue.retry_delay(now, self.running)

    def release(
        self,
        slot: Slot,
        outcome: AttemptOutcome,
        now: float,
        *,
        wait: float = 0.0,
        error: TokenGrpcError | None = None,
    ) -> None:
        """Releases the slot of an attempt that has ended, and serves queued requests.

        `wait` is the backoff that the engine asked for, in seconds. `error` is what ended the attempt.
        """
        slot.pooled.remove_slot(slot, outcome, wait, now, error)
        if slot.waited and outcome is not AttemptOutcome.FAILURE:
            self._wait_queue.charge(slot.request, slot.output)
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

        Returns None if no engine was unavailable when requests were served last, or if an earlier call
        returned the same time.
        """
        # Not those that are unavailable now: one may have become available since.
        times = [pooled.breaker.allowed_from for pooled in self.engines]
        backing_off = [at for at in times if at > self._served_at]
        if not self._wait_queue or not backing_off or now < self._wakeup_at <= min(backing_off):
            return None
        self._wakeup_at = min(backing_off)
        return max(0.0, self._wakeup_at - now)

    def wake(self, now: float) -> None:
        """Serves queued requests; called when the time that `next_wakeup` returned has passed."""
        self._wakeup_at = 0.0
        self.serve_waiters(now)

    def serve_waiters(self, now: float) -> None:
        """Gives free slots to queued requests, in the order of the wait queue."""
        # A request may release its slot at once, if its caller has left. That calls this function again, and
        # the loop that is running serves the next request.
        if self._serving:
            return
        self._serving = True
        self._served_at = now
        try:
            while self._wait_queue:
                slot_request = self._wait_queue.first(lambda left: self._has_slot(left, now))
                pooled = None if slot_request is None else self._choose(slot_request, now)
                if slot_request is None or pooled is None:
                    return
                granted = self._wait_queue.serve(slot_request, now)
                slot = self._take(slot_request, pooled, now)
                slot.waited = True
                granted(slot)
        finally:
            self._serving = False

    def _has_slot(self, left: Sequence[PooledEngine], now: float) -> bool:
        """Returns whether a request that these engines may run gets a slot now: as `_choose` does."""
        free = [pooled for pooled in left if pooled.has_free_slot]
        if not free or len(left) == 1:
            return bool(free)
        return any(m.breaker.allows(now) for m in free) or not any(m.breaker.allows(now) for m in left)

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

    def _breaker_changed(self, pooled: PooledEngine, is_open: bool) -> None:
        if self.on_breaker_change is not None:
            self.on_breaker_change(pooled, is_open)

    def _take(self, slot_request: SlotRequest, pooled: PooledEngine, now: float) -> Slot:
        slot = Slot(slot_request, pooled, self._expected_output(slot_request))
        slot_request.place.served = True
        pooled.take(slot, now)
        return slot

    def _expected_output(self, slot_request: SlotRequest) -> float:
        most = slot_request.most_output
        return self._typical_output if most is None else min(self._typical_output, most)

    def _expected_tokens(self, slot_request: SlotRequest) -> float:
        return slot_request.input_tokens + self._expected_output(slot_request)


def _best(engines: Sequence[PooledEngine], now: float) -> PooledEngine:
    """Returns the least loaded engine. Of equal ones, the one that has been idle for longest."""
    return min(engines, key=lambda m: (m.outstanding(now), m.last_used))


def by_preference(engines: Iterable[PooledEngine], session: bytes) -> list[PooledEngine]:
    """Returns engines in the order of a session, its own first."""
    return sorted(engines, key=lambda m: score(m.engine.name, m.weight, session), reverse=True)
