"""Numbers in a few characters."""

from __future__ import annotations

import time

_UNKNOWN = "-"


def quantity(number: float) -> str:
    """Formats a number of things or a rate: `0.4`, `12`, `1234`, `12.3k`, `1.2M`."""
    if number >= 999_950:
        return f"{number / 1e6:.1f}M"
    if number >= 9_999.5:
        return f"{number / 1e3:.1f}k"
    return f"{number:.1f}" if number < 9.95 and not float(number).is_integer() else f"{number:.0f}"


def latency(seconds: float | None) -> str:
    """Formats a time to measure by: `0.4 ms`, `12 ms`, `1.23 s`, `123 s`."""
    if seconds is None:
        return _UNKNOWN
    if seconds < 0.9995:
        milliseconds = seconds * 1e3
        return f"{milliseconds:.1f} ms" if milliseconds < 9.95 else f"{milliseconds:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.0f} s"


def age(seconds: float | None) -> str:
    """Formats how long something lasts: `12s`, `3m`, `5h12m`, `4d3h`."""
    if seconds is None:
        return _UNKNOWN
    minutes, hours, days = int(seconds / 60), int(seconds / 3600), int(seconds / 86_400)
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m" if minutes else f"{seconds:.0f}s"


def clock(wall: float) -> str:
    """Formats a time of the wall clock, in local time."""
    return time.strftime("%H:%M:%S", time.localtime(wall))
