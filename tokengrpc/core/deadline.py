"""Margins before a caller's deadline, so that the last event still reaches the caller. All in seconds.

The gRPC library ends a call at the caller's deadline and discards anything that arrives later. C-core clients
round a timeout up before they send it, so the server sees a later deadline than the client enforces.
"""

from __future__ import annotations

ROUNDING = 1e-6
"""Tolerance for rounding: a timer may fire this much before the time that it was set for."""

MIN_LEFT = 0.05
"""If less time than this is left, a call is rejected before an engine is called."""

_ROUNDING = ((10.0, 0.01), (100.0, 0.1), (1000.0, 1.0), (float("inf"), 10.0))
_BASE_MARGIN = 0.25
_LARGEST_DEFAULT_SHARE = 0.2
_LARGEST_REQUESTED_SHARE = 0.5
_LARGEST_LAG = 1.0
_LARGEST_LAG_SHARE = 0.25


def rounding_unit(left: float) -> float:
    """Returns the unit to which C-core rounds up a timeout of `left` seconds."""
    return next(unit for below, unit in _ROUNDING if left < below)


def stream_end(left: float, generation_end: float) -> float | None:
    """Returns when the server ends a stream that has `left` seconds until its deadline: one margin before.

    Returns None if the generation ends before that deadline: then the stream waits for `finished`. Both
    arguments and the result count from now.
    """
    return None if generation_end < left else left - margin(left)


def margin(left: float, requested: float | None = None) -> float:
    """Returns the margin before a deadline that is `left` seconds away; `requested` is the caller's."""
    if requested is not None:
        return min(requested, left * _LARGEST_REQUESTED_SHARE)
    return min(_BASE_MARGIN + rounding_unit(left), left * _LARGEST_DEFAULT_SHARE)


def largest_lag(left: float) -> float:
    """Returns by how much a margin grows at most while the event loop lags; `left` is that of `margin`."""
    return min(_LARGEST_LAG, left * _LARGEST_LAG_SHARE)
