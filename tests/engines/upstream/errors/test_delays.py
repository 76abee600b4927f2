"""Delays in headers, in error objects and in words."""

from __future__ import annotations

import pytest

from tokengrpc.engines.http.head import Headers
from tokengrpc.engines.upstream.errors.delays import delay_in, delay_seconds

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def headers(**fields: str) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in fields.items()}


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "1500", "Retry_After": "2"}, 1.5),
        ({"retry_after_ms": "soon", "Retry_After": "2"}, 2.0),
        ({"x_ms_retry_after_ms": "250"}, 0.25),
        ({"Retry_After": "1.5"}, 1.5),
        ({"Retry_After": " 7 "}, 7.0),
        ({"Retry_After": "7s"}, 7.0),
        ({"Retry_After": "1m30s"}, 90.0),
        ({"Retry_After": "Tue, 14 Nov 2023 22:13:29 GMT"}, 9.0),
        ({"Retry_After": "Tue, 14 Nov 2023 22:13:29 GMT", "Date": "Tue, 14 Nov 2023 22:13:24 GMT"}, 5.0),
        ({"Retry_After": "Tuesday, 14-Nov-23 22:13:29 GMT"}, 9.0),
        ({"Retry_After": "2023-11-14T22:13:29Z"}, 9.0),
        ({"Retry_After": "1700000009"}, 9.0),
        ({"Retry_After": "1700000009000"}, 9.0),
        ({"Retry_After": "Tue, 14 Nov 2023 22:13:11 GMT"}, 0.0),
        ({"Retry_After": "-3"}, 0.0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "9" * 400}, None),
        ({"x_ratelimit_reset_requests": "7s"}, 7.0),
        ({"x_ratelimit_reset_tokens": "6m0s"}, 360.0),
        ({"x_ratelimit_reset_requests": "120ms"}, 0.12),
        (
            {
                "x_ratelimit_remaining_requests": "0",
                "x_ratelimit_reset_requests": "7s",
                "x_ratelimit_remaining_tokens": "9000",
                "x_ratelimit_reset_tokens": "6m0s",
            },
            7.0,
        ),
        ({"x_ratelimit_reset_requests": "7s", "Retry_After": "2"}, 2.0),
        ({"anthropic_ratelimit_tokens_reset": "2023-11-14T22:13:29Z"}, 9.0),
        ({"x_ratelimit_reset": "1700000009"}, 9.0),
        ({"ratelimit_reset": "9"}, 9.0),
        ({"x_ratelimit_reset_requests": "never"}, None),
        ({}, None),
    ],
)
def test_headers(fields: dict[str, str], seconds: float | None):
    """What a response that refuses a rate says; the most exact header counts."""
    received = Headers({name.lower(): value for name, value in headers(**fields).items()})
    assert delay_seconds(received, now=NOW, limited=True) == pytest.approx(seconds)


def test_limits_count_only_where_one_was_reached():
    """Servers send the state of the limits with every response."""
    assert delay_seconds(headers(x_ratelimit_reset_requests="7s"), now=NOW) is None
    assert delay_seconds(headers(retry_after_ms="1500"), now=NOW) == 1.5


@pytest.mark.parametrize(
    ("error", "message", "seconds"),
    [
        ({"retry_after": 3}, "", 3.0),
        ({"retry_after_ms": 250}, "", 0.25),
        ({"retry_after": "1m"}, "", 60.0),
        ({"retry_after": None}, "", None),
        ({"details": [{"retryDelay": "30s"}]}, "", 30.0),
        ({"details": "none"}, "", None),
        ({"metadata": {"headers": {"Retry-After": "4"}}}, "", 4.0),
        ({}, "Please try again in 1m26.4s. Visit us.", 86.4),
        ({}, "Please retry in 37.5s.", 37.5),
        ({}, "Try again in 250ms", 0.25),
        ({}, "please wait for 2 minutes", 120.0),
        ({}, "Please retry after 20 seconds.", 20.0),
        ({}, "Please wait before trying again.", None),
        ({}, "the 7s model is gone", None),
    ],
)
def test_error_objects(error: dict[str, object], message: str, seconds: float | None):
    """Fields, Google's details, headers of the provider behind a proxy, and words."""
    assert delay_in(error, message) == pytest.approx(seconds)
