"""Delays that servers ask for before the next request: in headers, in error objects, and in words."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A longer delay is certainly wrong, and no client would wait that long.
_LONGEST_SECONDS = 31 * 24 * 3600.0

# Numbers above these are no delays but times since the epoch, in seconds and in milliseconds.
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")

# "Please try again in 1m26.4s" (OpenAI, Groq), "Please retry in 37.5s." (Gemini), "after 20 seconds".
_IN_WORDS = re.compile(
    r"(?:try again|retry|retry after|wait)(?: in| after| for)? "
    r"(?:(?P<duration>(?:\d+(?:\.\d+)?(?:ms|[smhd]))+)\b"
    r"|(?P<number>\d+(?:\.\d+)?) ?(?P<unit>second|minute|hour)s?)",
    re.IGNORECASE,
)
_WORD_UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}

# Limits of requests and of tokens, whose headers say what remains and when it is whole again: OpenAI, Groq
# and others; Anthropic.
_LIMITS = (
    *(
        (f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}")
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
    *(
        (f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset")
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
)

_FIELDS = {"retry_after": 1.0, "retryAfter": 1.0, "retry_after_seconds": 1.0, "retry_after_ms": 0.001}


def delay_seconds(headers: Mapping[str, str], *, now: float, limited: bool = False) -> float | None:
    """Returns the delay in a response's headers in seconds, or None without a usable one.

    `limited` says that the response refuses a request for its rate: then the headers of rate limits count as
    well. `now` is the time in seconds since the epoch, for responses without a date of their own. A delay is
    unusable if it is neither a number nor a duration nor a date, or exceeds a month. A negative one is 0.
    """
    sent = _date(headers.get("Date", ""))
    now = now if sent is None else sent
    milliseconds = _milliseconds(headers)
    if milliseconds is not None:
        return milliseconds
    delay = _usable(_read(headers.get("Retry-After", ""), now))
    if delay is not None or not limited:
        return delay
    return max(_resets(headers, now), default=None)


def delay_in(error: Mapping[str, Any], message: str) -> float | None:
    """Returns the delay in an error object in seconds, or None: in its fields, its details or its message."""
    for name, unit in _FIELDS.items():
        seconds = _read(str(error.get(name, "")), math.nan)
        if seconds is not None and _usable(seconds * unit) is not None:
            return _usable(seconds * unit)
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and "retryDelay" in detail:  # Google's RetryInfo
            return _usable(_duration(str(detail["retryDelay"])))
    metadata = error.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, dict) else None
    if isinstance(headers, dict):  # OpenRouter passes its provider's headers on
        lowered = _CaseInsensitive({str(name): str(value) for name, value in headers.items()})
        return delay_seconds(lowered, now=math.nan)
    words = _IN_WORDS.search(message)
    if words is None:
        return None
    if words["duration"]:
        return _usable(_duration(words["duration"].lower()))
    return _usable(float(words["number"]) * _WORD_UNITS[words["unit"].lower()])


class _CaseInsensitive(dict[str, str]):
    """Headers by their names in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__((name.lower(), value) for name, value in headers.items())

    def get(self, name: str, default: Any = "") -> Any:  # noqa: ANN401 - as in dict
        return super().get(name.lower(), default)


def _milliseconds(headers: Mapping[str, str]) -> float | None:
    """Returns the delay in OpenAI's and Azure's headers in seconds."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        value = _number(headers.get(name, ""))
        if value is not None and _usable(value / 1000) is not None:
            return _usable(value / 1000)
    return None


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """Yields the delays of the limits that are exhausted; of all limits, if none says that it is."""
    delays: list[tuple[bool, float]] = []
    for remaining, reset in _LIMITS:
        delay = _usable(_read(headers.get(reset, ""), now))
        if delay is not None:
            left = _number(headers.get(remaining, ""))
            delays.append((left is not None and left <= 0, delay))
    exhausted = [delay for is_exhausted, delay in delays if is_exhausted]
    yield from exhausted or (delay for _, delay in delays)


def _read(value: str, now: float) -> float | None:
    """Returns the seconds from `now` that a number, a duration or a date means."""
    value = value.strip()
    number = _number(value)
    if number is not None:
        if number >= _EPOCH_MILLISECONDS:
            return number / 1000 - now
        return number - now if number >= _EPOCH_SECONDS else number
    duration = _duration(value)
    if duration is not None:
        return duration
    date = _date(value)
    return None if date is None else date - now


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _duration(value: str) -> float | None:
    """Returns the seconds of a duration such as 7s, 6m0s, 1.5s or 250ms."""
    if _DURATION.fullmatch(value) is None:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value))


def _date(value: str) -> float | None:
    """Returns the seconds since the epoch of an HTTP date or one of RFC 3339."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = parse(value)
            return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
        except (TypeError, ValueError, OverflowError, IndexError, OSError):
            continue
    return None


def _usable(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds) or seconds > _LONGEST_SECONDS:
        return None
    return max(0.0, seconds)
