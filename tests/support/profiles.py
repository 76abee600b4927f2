"""The number of Hypothesis examples: thousands in `make check`, many more with HYPOTHESIS_PROFILE=nightly."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


def examples(checks: int, nightly: int = 100_000) -> settings:
    """Returns the settings of a property that needs more examples than Hypothesis's default of 100."""
    slow = [HealthCheck.too_slow] if NIGHTLY else []
    return settings(max_examples=nightly if NIGHTLY else checks, suppress_health_check=slow)
