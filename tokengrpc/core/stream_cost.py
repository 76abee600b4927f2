"""Estimate of what generations cost the process, learned from what it needed and what ran. No clock.

The need of an interval is `starts · start_seconds + generation-seconds · share`, with two unknowns. Both are
fitted to the last seconds by weighted least squares. While streams ramp up, starts and streams come together,
and only their growth tells them apart; assumed costs decide what the measurements leave open. What is assumed
of a stream follows from its rate, which is known at once: how often those that run have output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_OUTPUT_SECONDS = 0.000125
"""Assumed CPU time of one output: an event, mostly a token."""
_ASSUMED_RATE = 80.0
"""Assumed outputs a second of one generation. The true rate counts only where it is lower."""
_ASSUMED_SECONDS = 0.5
"""Generation-seconds that count as much as the assumed rate."""
DEFAULT_SHARE = _ASSUMED_RATE * _OUTPUT_SECONDS
"""Assumed share of a core for one generation before anything was measured."""

START_SECONDS = 0.0015
"""Assumed CPU time of a start."""
REFUSAL_SECONDS = 0.0003
"""CPU time of a rejected start, which is not learned."""

_LONGEST_START = 3 * START_SECONDS
"""Bound of what is learned about starts, so that a noisy host does not make streams look free."""
_INTERVAL = 0.25
"""Seconds that are measured together: starts cause work for some turns, and single pauses matter less."""
_MEMORY = 5.0
"""Time constant in seconds, of time in which generations have output. An idle process forgets nothing."""
_ASSUMED_SHARE, _ASSUMED_START = 0.2, 0.1
"""Seconds of measurements that count as much as the assumption."""
_SMALL_NEED = 0.1
"""Need, as a share of a core, below which an interval counts less. Above it, the error of a measurement is
taken as relative to it, so that many cheap streams count no more than a few dear ones."""
_SURPRISE = 2.0
"""Ratio of a need to the expected one from which on older measurements count less: streams have changed."""
_MAX_REFUSAL_SHARE = 0.3
"""An interval of which refusals take more than this says too little about generations."""
_FULL = 0.9
"""Share of an interval from which on the process may have needed more than it got."""


class StreamCost:
    """Share of a core that a generation with output needs on average, and the CPU seconds of a start."""

    def __init__(self) -> None:
        self._fit = _Fit()
        self._interval = _Interval()
        self._rate = _Rate()
        self._producing = 0
        self.share = DEFAULT_SHARE
        self.start_seconds = START_SECONDS

    def learn(
        self, *, elapsed: float, needed: float, producing: int, outputs: int, starts: int, refusals: int
    ) -> None:
        """Takes a measurement, and what ran meanwhile.

        `needed` is the time in which the event loop's thread had work: it ran, or waited for a core.
        `outputs` are the events of the `producing` generations, each without its first ones.
        """
        interval = self._interval
        interval.elapsed += elapsed
        interval.needed += needed
        interval.streams += producing * elapsed
        interval.starts += starts
        interval.refusals += refusals
        steady, self._producing = min(producing, self._producing), producing
        if steady and not refusals and needed <= _FULL * elapsed:  # starved generations have less output
            self._rate.add(outputs, steady * elapsed, kept=math.exp(-elapsed / _MEMORY))
        if interval.elapsed >= _INTERVAL:
            self._interval = _Interval()
            self._take(interval)
        self.start_seconds, self.share = self._fit.solution(self._rate.share)

    def _take(self, interval: _Interval) -> None:
        elapsed = interval.elapsed
        refused = interval.refusals * REFUSAL_SECONDS
        if not interval.streams or refused > _MAX_REFUSAL_SHARE * elapsed:
            return
        needed = max(0.0, interval.needed - refused)
        expected = interval.starts * self.start_seconds + interval.streams * self.share
        if interval.needed > _FULL * elapsed and needed < expected:
            return  # many generations that get too little would look cheap
        error = max(expected, _SMALL_NEED * elapsed)
        kept = math.exp(-elapsed / _MEMORY)
        if needed > _SURPRISE * error:
            kept *= (error / needed) ** 2
        self._fit.add(interval, needed, kept=kept, weight=elapsed / error**2)


@dataclass(slots=True)
class _Interval:
    """What ran in an interval. `streams` are generation-seconds."""

    elapsed: float = 0.0
    needed: float = 0.0
    streams: float = 0.0
    starts: int = 0
    refusals: int = 0


@dataclass(slots=True)
class _Rate:
    """Outputs a second of a generation: decaying sums, which begin with what is assumed."""

    outputs: float = _ASSUMED_RATE * _ASSUMED_SECONDS
    seconds: float = _ASSUMED_SECONDS

    def add(self, outputs: int, seconds: float, *, kept: float) -> None:
        """Adds the outputs of some generation-seconds. Of the weight of earlier ones, `kept` remains."""
        self.outputs = kept * self.outputs + outputs
        self.seconds = kept * self.seconds + seconds

    @property
    def share(self) -> float:
        """What is assumed of a stream: the share of a core that its outputs need, at most the default."""
        return min(DEFAULT_SHARE, self.outputs / self.seconds * _OUTPUT_SECONDS)


@dataclass(slots=True)
class _Fit:
    """Normal equations of the least squares: weighted and decaying sums of products."""

    starts_starts: float = 0.0
    starts_streams: float = 0.0
    streams_streams: float = 0.0
    starts_need: float = 0.0
    streams_need: float = 0.0

    def add(self, interval: _Interval, need: float, *, kept: float, weight: float) -> None:
        """Adds an interval. Of the weight of earlier ones, `kept` remains."""
        starts, streams = weight * interval.starts, weight * interval.streams
        self.starts_starts = kept * self.starts_starts + starts * interval.starts
        self.starts_streams = kept * self.starts_streams + starts * interval.streams
        self.streams_streams = kept * self.streams_streams + streams * interval.streams
        self.starts_need = kept * self.starts_need + starts * need
        self.streams_need = kept * self.streams_need + streams * need

    def solution(self, assumed: float) -> tuple[float, float]:
        """Returns the seconds of a start and the share of a stream, of which `assumed` is assumed.

        The assumed values count as measurements, so there is one solution, whatever was added.
        """
        weight = _ASSUMED_START / START_SECONDS**2
        starts, starts_need = self.starts_starts + weight, self.starts_need + weight * START_SECONDS
        weight = _ASSUMED_SHARE / DEFAULT_SHARE**2
        streams, streams_need = self.streams_streams + weight, self.streams_need + weight * assumed
        mixed = self.starts_streams
        start = (starts_need * streams - streams_need * mixed) / (starts * streams - mixed * mixed)
        start = min(max(0.0, start), _LONGEST_START)
        return start, max(0.0, (streams_need - mixed * start) / streams)
