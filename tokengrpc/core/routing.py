"""Which engine of a model runs a request, and the line for a place on one. No I/O; times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tokengrpc.core.breaker import AttemptOutcome, CircuitBreaker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.ports.engine import Engine

_FIRST_GUESS = 256.0
_LEARNING = 0.1
_REFRESH = 0.1
# Checks come at intervals that vary by a quarter; traffic in the shortest of them replaces one.
_QUIET = 0.75


class PooledEngine:
    """One engine of a model, with what runs on it and how it did. `max_connections` 0 is no limit."""

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
        self._weight = weight
        self._max = max_connections
        self._slots: dict[Slot, None] = {}
        self._answered: bool | None = None
        self._load = 0.0
        self._load_until = 0.0

    @property
    def running(self) -> int:
        """Attempts that run on it."""
        return len(self._slots)

    @property
    def failed(self) -> bool:
        """Whether it failed the last it was asked."""
        return self._answered is False

    @property
    def has_free_slot(self) -> bool:
        """Whether another attempt may run on it."""
        return not self._max or len(self._slots) < self._max

    @property
    def healthy(self) -> bool | None:
        """Whether it answered the last it was asked; None when it was not asked yet."""
        return self.engine.healthy if self._answered is None else self._answered

    def outstanding(self, now: float) -> float:
        """Tokens still to be worked off, divided by its weight."""
        # What has come since is looked up ten times a second at most: engines may run thousands.
        if now >= self._load_until:
            self._load = sum(slot.outstanding for slot in self._slots)
            self._load_until = now + _REFRESH
        return self._load / self._weight

    def needs_check(self, now: float) -> bool:
        """Whether only a check would tell how it is: no traffic lately, or none that is let through."""
        return not self.breaker.closed or (
            not self._slots and now - self.last_used >= self.check_interval * _QUIET
        )

    def checked(self, now: float, *, well: bool) -> None:
        """A check in the background has ended."""
        self._answered = well
        if well:
            self.breaker.probe_succeeded(now)
        else:
            self.breaker.failed(now, trial=False)

    def take(self, slot: Slot, now: float) -> None:
        """A claim has got a place."""
        self._slots[slot] = None
        self._load += slot.outstanding
        self.last_used = now

    def remove_slot(self, slot: Slot, outcome: AttemptOutcome, wait: float, now: float) -> None:
        """A claim has ended."""
        del self._slots[slot]
        self._load_until = 0.0
        self.last_used = now
        self.breaker.record(outcome, now, trial=slot.trial, wait=wait)
        if outcome is not AttemptOutcome.NEUTRAL:
            self._answered = outcome is not AttemptOutcome.FAILURE


@dataclass(slots=True, kw_only=True, eq=False)
class SlotRequest:
    """A request that wants a place. `progress` tells how many tokens have been generated for it."""

    capable: Sequence[PooledEngine]
    input_tokens: int
    most_output: int | None
    progress: Callable[[], int]
    left: list[PooledEngine] = field(init=False)
    """The members that it may run on next."""
    retries: bool = field(init=False, default=False)
    _last: PooledEngine | None = field(init=False, default=None)
    _incapable: set[PooledEngine] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """All may at first."""
        self.left = list(self.capable)

    def failed(self, pooled: PooledEngine, *, permanent: bool) -> None:
        """An attempt on a member has failed; `permanent` where another one there would fail as well."""
        self.retries = True
        if permanent:
            self._incapable.add(pooled)
        self.left = [other for other in self.left if other is not pooled]
        self._last = pooled

    def can_try_again(self, now: float) -> bool:
        """Whether another attempt may help.

        When all were tried, those that failed before the last one may be asked again: an engine that was lost
        may be back. Not those of which it is known to be in vain, nor those that asked to be left alone.
        """
        if not self.left:
            again = (m for m in self.capable if m is not self._last and m not in self._incapable)
            self.left = [pooled for pooled in again if not pooled.breaker.backing_off_at(now)]
        return bool(self.left)


class Slot:
    """A place on an engine, for one attempt."""

    def __init__(self, request: SlotRequest, pooled: PooledEngine, expected: float) -> None:
        self.pooled = pooled
        self.request = request
        self.trial = pooled.breaker.begin()
        self._expected = expected

    @property
    def outstanding(self) -> float:
        """Tokens of the input, and of the output that is still expected."""
        return self.request.input_tokens + max(self._expected - self.request.progress(), 0.0)

    def output_started(self) -> None:
        """The engine has brought output: a trial has succeeded."""
        if self.trial:
            self.pooled.breaker.succeeded(trial=True)
            self.trial = False


class EnginePool:
    """The engines of a model.

    A request runs where the fewest tokens are outstanding for the engine's weight, among those with the
    lowest priority that may be asked and have a free place. Where those that may be asked are all full, it
    waits in line. When none may be asked, the one that recovers soonest is asked all the same: to refuse
    would only make the failure certain.
    """

    def __init__(self, engines: Sequence[PooledEngine]) -> None:
        self.engines = tuple(engines)
        self._wait_queue: dict[SlotRequest, Callable[[Slot], None]] = {}
        self._typical_output = _FIRST_GUESS
        self._serving = False
        self.on_breaker_change: Callable[[str, bool], None] | None = None
        """Called with an engine's name, and whether its circuit breaker is open, when that changes."""
        for pooled in self.engines:
            pooled.breaker.on_change = partial(self._breaker_changed, pooled.engine.name)
        self._wakeup_at = 0.0

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._wait_queue)

    def acquire(self, slot_request: SlotRequest, now: float) -> Slot | None:
        """A place for a request that has members left; None when it must wait for one."""
        self.serve_waiters(now)
        pooled = _choose(slot_request, now)
        return None if pooled is None else self._take(slot_request, pooled, now)

    def wait(self, slot_request: SlotRequest, granted: Callable[[Slot], None]) -> None:
        """Puts a request that got no place at the end of the line; `granted` is called with its claim."""
        self._wait_queue[slot_request] = granted

    def leave(self, slot_request: SlotRequest) -> None:
        """A request does not wait any more."""
        self._wait_queue.pop(slot_request, None)

    def release(self, slot: Slot, outcome: AttemptOutcome, now: float, *, wait: float = 0.0) -> None:
        """An attempt has ended; who waits may get its place. `wait` is what a busy engine asks for."""
        slot.pooled.remove_slot(slot, outcome, wait, now)
        if outcome is AttemptOutcome.SUCCESS:
            self._typical_output += _LEARNING * (slot.request.progress() - self._typical_output)
        self.serve_waiters(now)

    def output_started(self, slot: Slot, now: float) -> None:
        """An engine has brought output; if that was a trial, others in line may be sent there too."""
        if slot.trial:
            slot.output_started()
            self.serve_waiters(now)

    def next_wakeup(self, now: float) -> float | None:
        """How long until `wake` is to be called, for those in line: an engine may be asked again then.

        None where no engine is left alone, and where the same was answered before.
        """
        backing_off = [m.breaker.allowed_from for m in self.engines if m.breaker.allowed_from > now]
        if not self._wait_queue or not backing_off or now < self._wakeup_at <= min(backing_off):
            return None
        self._wakeup_at = min(backing_off)
        return self._wakeup_at - now

    def wake(self, now: float) -> None:
        """The time that `next_wakeup` told is over."""
        self._wakeup_at = 0.0
        self.serve_waiters(now)

    def serve_waiters(self, now: float) -> None:
        """Gives free places to those in line, first come, first served."""
        # Who is granted a place may give it back at once, a whole line of callers who are gone: the loop that
        # runs hands it on.
        if self._serving:
            return
        self._serving = True
        try:
            for slot_request, granted in list(self._wait_queue.items()):
                if not any(pooled.has_free_slot for pooled in self.engines):
                    return
                pooled = _choose(slot_request, now)
                if pooled is not None:
                    del self._wait_queue[slot_request]
                    granted(self._take(slot_request, pooled, now))
        finally:
            self._serving = False

    def _breaker_changed(self, engine: str, is_open: bool) -> None:
        if self.on_breaker_change is not None:
            self.on_breaker_change(engine, is_open)

    def _take(self, slot_request: SlotRequest, pooled: PooledEngine, now: float) -> Slot:
        most = slot_request.most_output
        expected = self._typical_output if most is None else min(self._typical_output, most)
        slot = Slot(slot_request, pooled, expected)
        pooled.take(slot, now)
        return slot


def _choose(slot_request: SlotRequest, now: float) -> PooledEngine | None:
    left = slot_request.left
    if len(left) == 1:
        return left[0] if left[0].has_free_slot else None
    admitted = [pooled for pooled in left if pooled.breaker.allows(now)]
    free = [pooled for pooled in admitted if pooled.has_free_slot]
    if free:
        # After a failure, one that did not fail the last it was asked. Of equals, the one idle longest.
        return min(
            free,
            key=lambda m: (slot_request.retries and m.failed, m.priority, m.outstanding(now), m.last_used),
        )
    if admitted:
        return None
    free = [pooled for pooled in left if pooled.has_free_slot]
    return min(free, key=lambda m: (m.breaker.allowed_from, m.priority), default=None)
