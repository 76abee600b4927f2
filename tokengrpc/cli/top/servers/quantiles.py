"""Quantiles of histograms, as Prometheus' histogram_quantile estimates them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def histogram_quantile(quantile: float, buckets: Mapping[float, float]) -> float | None:
    """Returns a quantile (0 to 1) of the observations that buckets count, or None if there are none.

    `buckets` has the number of observations up to each upper bound, the last of which is infinite. Within a
    bucket, observations are taken to be spread evenly. A quantile in the last bucket is its lower bound.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or not math.isinf(bounds[-1]) or not buckets[bounds[-1]] > 0:
        return None
    rank = quantile * buckets[bounds[-1]]
    begin = below = 0.0
    for bound in bounds[:-1]:
        # A count that is below the one before it is an error of rounding.
        count = max(buckets[bound], below)
        if count >= rank:
            share = (rank - below) / (count - below) if count > below else 0.0
            return begin + (bound - begin) * share
        begin, below = bound, count
    return begin
