"""Choice of the engine that runs a request, and the wait queue of a model. No I/O; times are in seconds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tokengrpc.core.affinity import score
from tokengrpc.core.breaker import AttemptOutcome
from tokengrpc.core.pooled_engine import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tokengrpc.core.pooled_engine import PooledEngine, SlotRequest
    from tokengrpc.errors import TokenGrpcError

_FIRST_GUESS = 256.0
_LEARNING = 0.1
# With many requests, loads differ by more than a fixed number of tokens.
_SESSION_LOAD_FACTOR = 1.25


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
    def running(self) -> int:
        """Number of attempts that run on the engines."""
        return sum(pooled.running for pooled in self.engines)

    @property
    def slots(self) -> int:
        """Number of attempts that may run on the engines; 0 if one of them has no limit."""
        return 0 if any(not pooled.slots for pooled in self.engines) else sum(p.slots for p in self.engines)

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
        """Gives free slots to queued requests, in order of arrival."""
        # A request may release its slot at once, if its caller has left. That calls this function again, and
        # the loop that is running serves the next request.
        if self._serving:
            return
        self._serving = True
        self._served_at = now
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

    def _breaker_changed(self, pooled: PooledEngine, is_open: bool) -> None:
        if self.on_breaker_change is not None:
            self.on_breaker_change(pooled, is_open)

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
