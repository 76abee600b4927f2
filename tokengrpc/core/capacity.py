"""Capacity of the process: whether it can serve one more generation well. No I/O; the clock is passed in.

Three measurements say that the process is behind already: the event loop's lag, the time that it waits for a
core, and the time that calls wait to be accepted. A forecast says how many generations may start before their
cost can be measured. See docs/decisions/admission-by-capacity.md.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokengrpc.core.decaying import Decaying
from tokengrpc.core.retry_delays import RetryDelays
from tokengrpc.core.stream_cost import DEFAULT_SHARE, StreamCost
from tokengrpc.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

STANDING_SECONDS = 0.25
"""Time for which a lag must last, in at least two measurements: a single pause is not overload."""

CAUSES = (
    *("generations", "start_wait", "loop_lag", "core_wait", "core_share"),
    *("queue_length", "queue_time", "log_bytes"),
)
"""Causes of rejections: the limit on running generations, the process's own, and those of what is kept."""

_PENDING_MEMORY = 5.0
"""Time constant, in seconds, of the expectation that an admitted generation starts its output soon."""
_ENDS_MEMORY = 5.0
_WAIT_MEMORY = 1.0
_MAX_RATE = 200.0
_LONGEST_EXPECTED = 20.0
"""Assumed duration of a generation, in seconds, while none has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityLimits:
    """Limits above which new generations are rejected. 0 disables a limit. Times are in seconds."""

    max_loop_lag: float = 0.1
    max_core_share: float = 0.95
    max_core_wait: float = 0.5
    max_start_wait: float = 0.25
    min_generations: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Measurement of the event loop's thread. All in seconds, since the previous one.

    `lag` is how late the loop ran the timer that measures; `waited` is how long the thread waited for a core.
    """

    elapsed: float
    lag: float
    cpu: float
    waited: float


class Capacity:
    """Measurements and forecast of the process, and the delays for rejected callers."""

    def __init__(
        self,
        limits: CapacityLimits | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        start_wait: Callable[[], float] = lambda: 0.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`start_wait` returns the longest time that the current call can have waited to be accepted."""
        self._limits = limits or CapacityLimits()
        self.now = now
        self._start_wait = start_wait
        self._delays = RetryDelays(jitter)
        self._cost = StreamCost()
        self._recent: deque[Measurement] = deque()
        self._lagging = self._core_is_busy = False
        self._core_wait = 0.0
        self._producing = self._outputs = 0
        self._pending = Decaying(_PENDING_MEMORY)
        self._ends = Decaying(_ENDS_MEMORY)
        self._starts = self._refusals = 0
        self.rejections = Counter(dict.fromkeys(CAUSES, 0))
        """Number of callers that were rejected, by cause."""
        self.rejecting = False
        """Whether the last caller was rejected. The next one will probably be rejected as well."""

    @property
    def forecast(self) -> float:
        """Share of a core that the generations will need once all of them have output.

        What was learned from those with output holds for as many that are starting: the next caller may ask
        for more than the last ones. For further ones, at least the default is assumed.
        """
        pending, share = self._pending.at(self.now()), self._cost.share
        alike = min(pending, self._producing)
        return share * (self._producing + alike) + max(share, DEFAULT_SHARE) * (pending - alike)

    @property
    def core_wait(self) -> float:
        """Share of the time, of about the last second, in which the process waited for a core."""
        return self._core_wait

    @property
    def utilization(self) -> float:
        """The forecast as a fraction of its limit; at least 1 while the process is behind."""
        most = self._limits.max_core_share
        needed = self.forecast / most if most else 0.0
        return max(1.0, needed) if self._lagging or self._core_is_busy else needed

    @property
    def recent_lag(self) -> float:
        """The largest lag, in seconds, of the last measurements."""
        return max((each.lag for each in self._recent), default=0.0)

    def measured(self, measurement: Measurement) -> None:
        """Takes a measurement."""
        recent = self._recent
        recent.append(measurement)
        while (
            len(recent) > 2 and sum(each.elapsed for each in recent) - recent[0].elapsed >= STANDING_SECONDS
        ):
            recent.popleft()
        self._lagging = _above(self._standing_lag, self._limits.max_loop_lag, already=self._lagging)
        share = min(1.0, measurement.waited / measurement.elapsed) if measurement.elapsed else 0.0
        self._core_wait += (share - self._core_wait) * (1 - math.exp(-measurement.elapsed / _WAIT_MEMORY))
        self._core_is_busy = _above(self._core_wait, self._limits.max_core_wait, already=self._core_is_busy)
        self._cost.learn(
            elapsed=measurement.elapsed,
            needed=measurement.cpu + measurement.waited,
            producing=self._producing,
            outputs=self._outputs,
            starts=self._starts,
            refusals=self._refusals,
        )
        self._outputs = self._starts = self._refusals = 0

    def check(self, active: int, *, queued: bool = False) -> None:
        """Raises Overloaded if one more generation than the `active` ones would not run well.

        One that is `queued`, because its engines are busy, costs next to nothing until others have ended.
        """
        limits = self._limits
        if active < limits.min_generations:
            return
        waited = self._start_wait()
        if limits.max_start_wait and waited > limits.max_start_wait:
            raise self.rejection("start_wait", f"calls wait {waited * 1e3:.0f} ms to be accepted", active)
        if self._lagging:
            lag = self._standing_lag * 1e3
            raise self.rejection("loop_lag", f"the event loop is {lag:.0f} ms late", active)
        if self._core_is_busy:
            share = f"{self._core_wait:.0%}"
            raise self.rejection("core_wait", f"the process waits for a core {share} of the time", active)
        if not limits.max_core_share or queued:
            return
        if self.forecast + self._cost.share > limits.max_core_share:
            raise self.rejection("core_share", f"{active} generations need the whole core", active)

    def rejection(self, cause: str, why: str, active: int, delay: float | None = None) -> Overloaded:
        """Returns the error for a caller that is rejected; without a `delay`, it gets one by its turn."""
        self._refusals += 1
        self.rejections[cause] += 1
        self.rejecting = True
        if delay is None:
            delay = self._delays.next(self.now(), self._rate(active))
        return Overloaded(
            f"the server is at capacity, because {why}: try again in {delay:.1f} s, or on another replica",
            metadata={"cause": cause},
            retry_after=delay,
        )

    def admitted(self, *, queued: bool = False) -> Share:
        """Notes that a generation was admitted. Returns its share, which it keeps up to date."""
        self._starts += 1
        self.rejecting = False
        return Share(self, queued=queued)

    def count(self, change: int, *, expected_since: float | None = None) -> None:
        """Changes the number of generations with output; or of those that are expected to have some soon."""
        if expected_since is None:
            self._producing += change
        else:
            self._pending.change(change, expected_since, self.now())

    def output(self, events: int) -> None:
        """Notes that a generation had further output."""
        self._outputs += events

    def ended(self) -> None:
        """Notes that a generation has ended, so that there is room for another one."""
        now = self.now()
        self._ends.change(1, now, now)

    @property
    def _standing_lag(self) -> float:
        return min(each.lag for each in self._recent) if len(self._recent) > 1 else 0.0

    def _rate(self, active: int) -> float:
        """Returns how many rejected callers a second can be admitted: as others end, or as there is room."""
        ends = self._ends.at(self.now()) / _ENDS_MEMORY
        share = self._cost.share
        room = max(0.0, self._limits.max_core_share - self.forecast) / share if not self._lagging else 0.0
        return min(_MAX_RATE, max(1.0, ends, room, active / _LONGEST_EXPECTED))


class Share:
    """What one generation adds to the forecast."""

    def __init__(self, capacity: Capacity, *, queued: bool) -> None:
        self._capacity = capacity
        self._producing = False
        # The time since which output is expected; None if none is, or if there is some.
        self._expected_since: float | None = None
        if not queued:
            self.called()

    def queued(self) -> None:
        """Notes that the generation waits for an engine: no output is expected."""
        if self._expected_since is not None:
            self._capacity.count(-1, expected_since=self._expected_since)
            self._expected_since = None

    def called(self) -> None:
        """Notes that an engine is called: output is expected. No effect if there was some."""
        if self._expected_since is None and not self._producing:
            self._expected_since = self._capacity.now()
            self._capacity.count(1, expected_since=self._expected_since)

    def output_started(self) -> None:
        """Notes that there is output. Further calls have no effect."""
        self.queued()
        if not self._producing:
            self._producing = True
            self._capacity.count(1)

    def ended(self) -> None:
        """Notes the end. To be called once."""
        self.queued()
        if self._producing:
            self._producing = False
            self._capacity.count(-1)
        self._capacity.ended()


def _above(value: float, limit: float, *, already: bool) -> bool:
    """Returns whether a value is above its limit. Once it is, it stays so until it falls below half of it."""
    return bool(limit) and value > (limit / 2 if already else limit)
