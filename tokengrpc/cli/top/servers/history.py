"""History of one server: its state, and what it counted between samples."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from tokengrpc.cli.top.servers.series import DRAINING, HEARTBEAT_AGE, MODEL_READY, START_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokengrpc.cli.top.servers.samples import Sample
    from tokengrpc.cli.top.servers.series import Series

MINUTE = 60.0
FROZEN_AFTER = 5.0
"""Seconds without a heartbeat of the event loop after which /healthz fails."""


class State(StrEnum):
    """State of a server, as its admin port shows it."""

    CONNECTING = "connecting"
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    FROZEN = "frozen"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Step:
    """What a server counted from `begin` to `end`, in seconds of a monotonic clock. Only what increased."""

    begin: float
    end: float
    increases: Mapping[Series, float]


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a step within a window: its length in seconds, and its share of the step, from 0 to 1."""

    step: Step
    seconds: float
    share: float


@dataclass(slots=True)
class History:
    """A server that is polled. `sample` is the newest one; None while the server cannot be reached.

    `since` and `restarted` are wall-clock times, in seconds, of the last change of state and of the last
    restart that was seen. `kept` is how long steps are kept, in seconds.
    """

    address: str
    kept: float = MINUTE
    sample: Sample | None = None
    state: State = State.CONNECTING
    since: float = 0.0
    error: str = ""
    restarted: float | None = None
    steps: deque[Step] = field(default_factory=deque)
    _previous: Sample | None = None
    _failed_at: float = 0.0

    def add(self, sample: Sample, wall: float) -> None:
        """Takes a sample, which arrived at the wall-clock time `wall`."""
        previous = self._previous
        if previous is not None:
            if sample.follows(previous):
                self._add_step(previous.at, sample, previous.counters)
            else:
                self.restarted = wall
                self._add_step(max(previous.at, self._failed_at), sample, {})
        self.sample = self._previous = sample
        self._enter(_state_of(sample), wall)

    def fail(self, reason: str, at: float, wall: float) -> None:
        """Takes note that the server did not answer at a time of both clocks, and why."""
        self.sample, self.error, self._failed_at = None, reason, at
        self._enter(State.UNREACHABLE, wall)

    def uptime(self, wall: float) -> float | None:
        """Returns for how many seconds the process has run; None if that is not known."""
        started = self.sample.gauge(START_TIME) if self.sample is not None else 0.0
        return max(0.0, wall - started) if started else None

    def window(self, begin: float, end: float) -> Iterator[Part]:
        """Yields the parts of steps within a time."""
        for step in self.steps:
            seconds = min(step.end, end) - max(step.begin, begin)
            if seconds > 0:
                yield Part(step, seconds, seconds / (step.end - step.begin))

    def last(self) -> Iterator[Part]:
        """Yields the last step, if the newest sample ends it."""
        if self.sample is not None and self.steps and self.steps[-1].end == self.sample.at:
            step = self.steps[-1]
            yield Part(step, step.end - step.begin, 1.0)

    def _add_step(self, begin: float, sample: Sample, before: Mapping[Series, float]) -> None:
        increases = {
            series: value - before.get(series, 0.0)
            for series, value in sample.counters.items()
            if value > before.get(series, 0.0)
        }
        if sample.at > begin:
            self.steps.append(Step(begin, sample.at, increases))
        while self.steps and self.steps[0].end < sample.at - self.kept:
            self.steps.popleft()

    def _enter(self, state: State, wall: float) -> None:
        if state is not self.state:
            self.state, self.since = state, wall


def _state_of(sample: Sample) -> State:
    if sample.gauge(HEARTBEAT_AGE) >= FROZEN_AFTER:
        return State.FROZEN
    if sample.gauge(DRAINING):
        return State.DRAINING
    # A server knows its models once it serves.
    return State.SERVING if any(name == MODEL_READY for name, _ in sample.gauges) else State.STARTING
