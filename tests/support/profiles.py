"""How many cases Hypothesis tries: thousands in the checks, far more under HYPOTHESIS_PROFILE=nightly."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


def examples(checks: int, nightly: int = 100_000) -> settings:
    """Settings of a property that deserves more than the hundred cases of the others."""
    slow = [HealthCheck.too_slow] if NIGHTLY else []
    return settings(max_examples=nightly if NIGHTLY else checks, suppress_health_check=slow)
