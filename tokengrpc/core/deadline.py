"""When a generation must end so that its end still reaches a caller with a deadline. All in seconds.

The gRPC library cuts a caller off at its deadline, and what arrives later is lost. C-core clients round a
timeout up before they send it, so the server sees a later deadline than the caller keeps.
"""

from __future__ import annotations

ROUNDING = 1e-6
"""Sums of times are rounded: a timer that looks back may find itself this much too early."""

MIN_LEFT = 0.05
"""With less left than this a call is refused before an engine is called."""

_ROUNDING = ((10.0, 0.01), (100.0, 0.1), (1000.0, 1.0), (float("inf"), 10.0))
_BASE_MARGIN = 0.25
_LARGEST_DEFAULT_SHARE = 0.2
_LARGEST_ASKED_SHARE = 0.5


def rounding_unit(left: float) -> float:
    """The unit to which C-core rounds a timeout of this length up."""
    return next(unit for below, unit in _ROUNDING if left < below)


def stream_end(left: float, generation_end: float) -> float | None:
    """When a stream ends by itself that has `left` until its deadline: one margin before.

    None where the generation ends before that deadline: its `finished` is to come, and is waited for. Both
    times and the answer count from now.
    """
    return None if generation_end < left else left - margin(left)


def margin(left: float, asked: float | None = None) -> float:
    """How long before a deadline to end, with `left` until it; `asked` is the caller's own wish."""
    if asked is not None:
        return min(asked, left * _LARGEST_ASKED_SHARE)
    return min(_BASE_MARGIN + rounding_unit(left), left * _LARGEST_DEFAULT_SHARE)
